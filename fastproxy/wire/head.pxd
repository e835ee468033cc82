from fastproxy.message cimport RequestHead, ResponseHead

cdef class RequestHeadParser:
    cdef Py_ssize_t _max_count
    cdef Py_ssize_t _max_target

    cpdef RequestHead parse(self, bytes raw)

cdef class ResponseHeadParser:
    cpdef ResponseHead parse(self, bytes raw)
