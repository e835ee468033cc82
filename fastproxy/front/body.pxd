from fastproxy.exchange cimport Exchange
from fastproxy.front.life cimport ConnectionLife

cdef class BodyReading(ConnectionLife):
    cdef object _decoder, _fill

    cdef _body_memory(self)
    cpdef want_body(self)
    cdef _on_pending(self)
    cpdef pause_body(self)
    cdef _on_direct(self, nbytes)
    cdef _on_body(self, data)
    cdef _count_body(self, Exchange exchange, long long size)
    cdef _body_complete(self, Exchange exchange)
