cdef class Account:
    cdef readonly long long age
    cdef readonly double opened_at
    cdef public Py_ssize_t claim, held, disk, flying
    cdef public bint is_endless, may_end
    cdef public double grew_at
    cdef public object standing
    cdef public long long ticket, epoch
