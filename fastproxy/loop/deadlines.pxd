cdef class Timed:
    cdef public double deadline
    cdef public long long bucket

cdef class Deadlines:
    cdef object _loop, _timer
    cdef dict _buckets
    cdef long long _count, _checked
    cdef public double now
    cdef double _tick_s

    cpdef watch(self, Timed timed)
    cpdef forget(self, Timed timed)
    cdef long long _bucket(self, double deadline)
    cdef _put(self, Timed timed, long long bucket)
    cdef _check_one(self, Timed timed, double now)
