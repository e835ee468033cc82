cdef class Trip:
    cdef bint body_came(self, Py_ssize_t nbytes) except -1
    cdef bint answered(self, Py_ssize_t nbytes) except -1
    cdef leave(self)

cdef class Shortcut:
    cdef bint take(self, connection, Py_ssize_t nbytes) except -1
