from fastproxy.memory.account cimport Account
from fastproxy.memory.growth cimport GrowthOrder
from fastproxy.memory.line cimport Line

cdef class Policy:
    cdef object _marks, _tickets
    cdef dict _places, _waiting
    cdef list _grounded
    cdef GrowthOrder _order
    cdef Account _owner
    cdef Py_ssize_t _turn, _taken
    cdef readonly Py_ssize_t flying, share, reserve, _owned
    cdef readonly Line line

    cpdef Py_ssize_t spare(self, Account account, Py_ssize_t free) except? -1
    cpdef bint ask(self, Account account, Py_ssize_t free) except -1
    cdef bint _has_turn(self, Account account) except -1
    cpdef Py_ssize_t ahead(self, Account account, Py_ssize_t free) except -1
    cpdef took(self, Account account, Py_ssize_t slabs)
    cpdef grew(self, Account account)
    cpdef spilling(self, Account account, Py_ssize_t disk)
    cpdef settled(self, Account account, Py_ssize_t held, Py_ssize_t disk)
    cpdef emptied(self, Account account)
    cpdef completed(self, Account account, Py_ssize_t slabs)
    cpdef landed(self, Account account, Py_ssize_t slabs)
    cpdef Account victim(self)
    cpdef pause(self, Account account)
    cpdef disown(self)
    cdef _wait(self, Account account, standing)
    cdef _leave(self, Account account, standing)
