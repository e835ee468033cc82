from fastproxy.message cimport RequestHead, ResponseHead

cdef enum Kind:
    PLAIN  # travels on
    DROPPED  # hop-by-hop, or of our own namespace
    CLAIM
    HOST
    LENGTH
    CODING
    CONNECTION
    EXPECT
    UPGRADE
    FORWARDED_FOR
    FORWARDED_PROTO
    FORWARDED_HOST
    REQUEST_ID
    OVERRIDE
    CONTENT_TYPE
    DATE
    KEEP_ALIVE
    CONTROL  # from a backend to us: what is to be sent in place of its answer

cdef bint is_named_host(const unsigned char* text, Py_ssize_t size) noexcept

cdef class RequestHeadParser:
    cdef Py_ssize_t _max_count
    cdef Py_ssize_t _max_target

    cpdef RequestHead parse(self, bytes raw)

cdef class ResponseHeadParser:
    cpdef ResponseHead parse(self, bytes raw)
