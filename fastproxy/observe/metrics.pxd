cimport cython

cdef class Cell:
    cdef double[::1] _cells
    cdef Py_ssize_t _index
    cpdef add(self, double amount=*)
    cpdef set(self, double value)

cdef class Histogram:
    cdef double[::1] _cells
    cdef tuple _buckets
    cdef Py_ssize_t _first, _sum
    cpdef observe(self, double value)

cdef class RouteRequests:
    cdef double[::1] _cells, _bounds
    cdef int[::1] _codes
    cdef Py_ssize_t _requests, _duration, _sum

    @cython.locals(offset=Py_ssize_t, bucket=Py_ssize_t, cells="double[::1]")
    cpdef count(self, bytes method, int status, double seconds)
