cdef class RequestIds:
    cdef bytes _digits, _prefix
    cdef Py_ssize_t _at, _end
    cdef long long _millisecond
    cpdef str new(self)
    cpdef Py_ssize_t turn(self, long long millisecond) except -1
