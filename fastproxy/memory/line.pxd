from fastproxy.memory.account cimport Account

cdef class Line:
    cdef readonly bint is_on_disk
    cdef readonly Py_ssize_t capacity, _held, _disk
    cdef Py_ssize_t _staging, _besides
    cdef readonly dict _members
    cdef list _claims

    cpdef hold(self, Account account, Py_ssize_t held, Py_ssize_t disk)
    cpdef bint admits(self, Account account) except -1
    cpdef bint may_spill(self, Account account, Py_ssize_t blocks) except -1
    cdef Py_ssize_t _left(self) except -1
