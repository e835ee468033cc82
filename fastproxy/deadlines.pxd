cdef class Deadlines:
    cdef object _loop, _timer
    cdef dict _buckets, _bucket_of
    cdef long long _checked
    cdef public double now

    cpdef watch(self, timed)
    cpdef forget(self, timed)
    cdef long long _bucket(self, double deadline)
    cdef _put(self, timed, bucket)
