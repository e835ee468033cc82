cdef class Link:
    cdef object _transport, _scratch
    cdef public bint is_reading, is_blocked, has_eof, has_sent_eof
    cdef _open(self)
    cpdef stop_reading(self)
    cpdef start_reading(self)
    cpdef write(self, pieces)
