from fastproxy.loop.readiness cimport Descriptor
from fastproxy.wire.scratch cimport Scratch

cdef class Link:
    cdef object _transport
    cdef Scratch _scratch
    cdef public bint is_reading, is_blocked, has_eof, has_sent_eof
    cdef bint _is_ending
    cdef long long _written
    cdef Descriptor _descriptor
    cpdef stop_reading(self)
    cpdef start_reading(self)
    cpdef write(self, pieces)
