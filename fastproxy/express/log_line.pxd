cdef struct Served:
    const char* request_id
    int request_id_size
    int status
    long long received  # bytes of the request's body
    long long sent  # bytes of the answer's body
    double duration_s

cdef class LogLines:
    cdef long long _second
    cdef bytes _time  # of `_second`

    cdef bytes line(self, char* out, const Served* served, str remote_ip, bytes fields)
