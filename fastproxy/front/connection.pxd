from fastproxy.front.life cimport ConnectionLife
from fastproxy.message cimport RequestHead
from fastproxy.exchange cimport Exchange

cdef class ClientConnection(ConnectionLife):
    cdef object _decoder, _fill
    cdef str _remote_ip
    cdef bint _is_stepping, _is_trusted

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cdef _choose_memory(self, direct, decoder)
    cdef _on_bytes(self, data)
    cdef _step(self)
    cdef bint _take_head(self) except -1
    cdef _begin(self, RequestHead head)
    cdef _on_pending(self)
    cdef _on_direct(self, nbytes)
    cdef _on_body(self, data)
    cdef _count_body(self, Exchange exchange, long long size)
    cdef _body_complete(self, Exchange exchange)
    cpdef want_body(self)
    cpdef pause_body(self)
    cpdef write(self, pieces)
