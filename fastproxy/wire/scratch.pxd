cdef class Scratch:
    cdef object _large
    cdef public object view, head_view
    cpdef renew(self)
    cdef _free(self)
    cdef _fresh(self)
