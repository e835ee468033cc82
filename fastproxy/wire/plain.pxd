from fastproxy.wire.head cimport Kind

cdef enum:
    MAX_RUNS = 24
    MAX_CLAIMS = 8

cdef struct Run:  # of bytes in the head
    int at
    int size

cdef struct PlainHead:
    int size  # with the empty line
    int count  # of fields
    int first_line
    Run run[MAX_RUNS]  # whole lines that travel on, in their order
    int runs
    Run claim[MAX_CLAIMS]  # lines that say who the client is
    int claims
    long long length  # Content-Length, or -1
    # of a request
    int method
    int path  # without the query
    int target
    Run host, forwarded_for, forwarded_proto, forwarded_host, request_id
    # of a response
    int status
    bint is_dated
    int keep_alive_s  # of a Keep-Alive field, or -1

cdef bint scan_request(const unsigned char* data, Py_ssize_t size, PlainHead* head) noexcept
cdef bint scan_response(const unsigned char* data, Py_ssize_t size, PlainHead* head) noexcept
cdef char* put(char* at, const void* text, Py_ssize_t size) noexcept
cdef char* put_bytes(char* at, bytes text) noexcept
cdef char* put_text(char* at, str text) except NULL
cdef char* put_number(char* at, long long number) noexcept
cdef char* put_runs(char* at, const unsigned char* data, const Run* run, int count) noexcept
cdef Py_ssize_t runs_size(const Run* run, int count) noexcept
