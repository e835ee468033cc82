cdef class Blocks:
    cdef readonly Py_ssize_t size, used
    cdef public Py_ssize_t limit
    cdef Py_ssize_t _end, _trimming
    cdef list _dirty, _clean

cdef class Holding:
    cdef readonly list blocks
    cdef readonly long long used

    cpdef Py_ssize_t missing(self, long long size, Py_ssize_t block) except -1
    cpdef extend(self, long long size, Blocks source)
    cpdef list extents(self, long long start, long long end, Py_ssize_t block)
    cpdef shrink(self, long long used, Blocks source)
