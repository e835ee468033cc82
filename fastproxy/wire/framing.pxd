cdef class LengthDecoder:
    cdef public object remaining
    cdef public bint is_done

cdef class UntilCloseDecoder:
    cdef public bint is_done
