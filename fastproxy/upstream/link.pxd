from fastproxy.loop.readiness cimport Descriptor, Reader
from fastproxy.wire.scratch cimport Scratch

cdef class Link(Reader):
    cdef object _transport
    cdef Scratch _scratch
    cdef bint _copies, _is_tcp, _is_near
    cdef Descriptor _descriptor
    cdef long long _sent
    cdef public object phase
    cdef public bint is_blocked

    cdef _open(self, transport)
    cpdef bint is_silent(self) except -1
    cdef bint _is_unasked(self) except -1
    cpdef send(self, pieces)
