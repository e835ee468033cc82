cdef class Pace:
    cdef object _limits
    cdef double _since
    cdef public long long size
    cpdef begin(self)
    cpdef resume(self, double now)
    cpdef pause(self, double now)
    cpdef count(self, long long size, max_body, double now)
