from fastproxy.handlers.proxy.proxy_pass cimport Target
from fastproxy.observe.metrics cimport RouteRequests
from fastproxy.wire.plain cimport PlainHead

cdef class Way:
    cdef readonly Target target
    cdef readonly object judge  # of answers, or None
    cdef readonly long long max_body
    cdef readonly int route_index
    cdef readonly str route_name, path
    cdef readonly bytes method, hints
    cdef readonly bint is_head
    cdef readonly RouteRequests requests
    cdef readonly bytes log_fields  # of a line of the access log: what is the same each time

cdef class Ways:
    cdef object _table, _handlers, _requests_of
    cdef dict _known

    cdef Way find(self, const unsigned char* data, const PlainHead* head)
    cdef Way _ask(self, bytes key, Py_ssize_t line)
