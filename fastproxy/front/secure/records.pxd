cdef class Records:
    cdef object _incoming
    cdef readonly object _outgoing
    cdef readonly object tls
    cdef bytes _early
    cdef bint _may_hold
    cdef readonly bint has_ended

    cpdef bint has_readable(self) except -1
    cpdef bint shake_hands(self) except -1
    cpdef feed(self, ciphertext)
    cpdef Py_ssize_t read(self, window) except -1
    cdef Py_ssize_t _read_early(self, window) except -1
    cpdef bytes encrypt(self, data)
    cpdef bytes said(self)
    cpdef forget(self)
