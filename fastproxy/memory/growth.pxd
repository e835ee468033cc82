from fastproxy.memory.account cimport Account

cdef class GrowthOrder:
    cdef long long _now, _ranked_epoch
    cdef dict _epochs
    cdef list _ranked

    cpdef advance(self)
    cpdef touch(self, Account account)
    cpdef drop(self, Account account)
    cpdef Account pop(self)
