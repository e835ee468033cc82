cdef struct Served:
    const char* request_id
    int request_id_size
    int status
    long long received  # bytes of the request's body
    long long sent  # bytes of the answer's body
    double duration_s
    double backend_s  # until its answer came

cdef enum:
    FLUSH_BYTES = 32 * 1024  # as AccessLog
    OUT_BYTES = 64 * 1024

cdef class LogLines:
    cdef object _access_log
    cdef readonly bint is_on
    cdef long long _second
    cdef bytes _time  # of `_second`
    cdef char _out[OUT_BYTES]
    cdef Py_ssize_t _size

    cdef add(self, const Served* served, str remote_ip, bytes fields)
