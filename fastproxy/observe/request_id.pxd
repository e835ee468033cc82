cdef class RequestIds:
    cdef str _digits, _prefix
    cdef Py_ssize_t _at
    cdef long long _millisecond
    cpdef str new(self)
