cdef class RequestHead:
    cdef public bytes method, target, host, upgrade
    cdef public bytes forwarded_for, forwarded_proto, forwarded_host, request_id
    cdef public int minor_version
    cdef public list headers, claims
    cdef public tuple overrides
    cdef public object content_length
    cdef public bint is_chunked, keep_alive, expects_continue

cdef class ResponseHead:
    cdef public int status, minor_version
    cdef public bytes reason, upgrade
    cdef public list headers
    cdef public object content_length, keep_alive_timeout_s
    cdef public tuple controls
    cdef public bint is_chunked, keep_alive, is_dated, is_private
