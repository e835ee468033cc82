from fastproxy.exchange cimport Exchange
from fastproxy.upstream.connection cimport UpstreamConnection
from fastproxy.upstream.pool cimport Pool

cdef class Target:
    cdef readonly str name
    cdef readonly Pool pool
    cdef readonly double header_timeout_s, body_timeout_s
    cdef readonly object dialect
    cdef readonly bytes hints

cdef class Outgoing:
    cdef readonly bytes method, target, lines
    cdef public object length
    cdef public bint has_body, is_precious

    cpdef bytes head(self)

cdef class Forwarding:
    cdef Outgoing _outgoing
    cdef Target _target
    cdef object _source, _reply, _judge
    cdef UpstreamConnection _connection
    cdef bint _has_sent_body, _is_retry, _is_over
    cdef double _started_at
    cdef public bint is_tunnel
    cdef int _tunnel_ends

    cpdef start(self)
    cpdef adopt(self, UpstreamConnection connection, double started_at)
    cpdef cancel(self)
    cpdef send_body(self, pieces)
    cpdef end_body(self)
    cdef _request_sent(self, UpstreamConnection connection)
    cdef _switch(self, head)
    cdef _one_tunnel_end(self)
    cdef bint _may_repeat(self, UpstreamConnection connection, fault) except -1

cdef class ProxyPass:
    cdef Exchange _exchange
    cdef Forwarding _forwarding

    cpdef start(self)
    cpdef Forwarding adopt(self, UpstreamConnection connection, double started_at)

cdef class PlainProxy:
    cdef readonly Target target
    cdef readonly object max_body, judge
    cdef readonly bint websocket
