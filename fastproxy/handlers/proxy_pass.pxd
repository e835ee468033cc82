from fastproxy.exchange cimport Exchange

cdef class Forwarding:
    cdef object _outgoing, _target, _source, _reply, _connection
    cdef bint _has_sent_body, _is_retry, _is_over
    cdef double _started_at
    cdef public bint is_tunnel
    cdef int _tunnel_ends
    cpdef start(self)
    cpdef cancel(self)
    cpdef send_body(self, pieces)
    cpdef end_body(self)
    cdef _request_sent(self, connection)
    cdef _switch(self, head)
    cdef _one_tunnel_end(self)
    cdef bint _may_repeat(self, connection, fault) except -1

cdef class ProxyPass:
    cdef Exchange _exchange
    cdef Forwarding _forwarding
    cpdef start(self)
