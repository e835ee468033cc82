cimport cython

from fastproxy.upstream.connection cimport UpstreamConnection

cdef class Pool:
    cdef readonly object origin, reactor
    cdef object _limits, _tls, _server_name, _resolver, _waiting
    cdef list _idle
    cdef set _open
    cdef dict _connecting, _dialing
    cdef bint _is_closed
    cdef Py_ssize_t _max_idle

    cpdef acquire(self, taker, bint fresh=*, line=*)

    @cython.locals(last=UpstreamConnection)
    cpdef bint has_idle(self) except -1
    cpdef take_idle(self)
    cpdef cancel(self, taker)
    cpdef give_back(self, connection)
    cpdef lost(self, connection)
    cdef _connect_next(self)
    cdef _next_taker(self)
    cdef _connect(self, taker)
    cdef _dialed(self, task)
