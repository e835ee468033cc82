from fastproxy.message cimport RequestHead, ResponseHead

cdef class Exchange:
    cdef object _client, _framing, _reporter, _stage
    cdef bytes _held
    cdef object _remaining
    cdef bint _is_last
    cdef public RequestHead head
    cdef public object max_body, sink, direct, fault, fields, asker, on_over, pages
    cdef public str path, route_name, peer_ip, remote_ip, request_id
    cdef public int route_index, status, parts, retries
    cdef public bint is_peer_trusted, is_draining, is_parked, was_upgraded
    cdef public bytes scheme, client_subject
    cdef public double started_at, backend_s
    cdef public long long body_bytes, sent_bytes, upload_bytes

    cpdef admit_body(self, limit)
    cpdef respond(self, ResponseHead head)
    cdef tuple _choose_framing(self, ResponseHead head)
    cdef bytes _connection_line(self)
    cdef bint _may_keep(self)
    cpdef write(self, pieces)
    cdef _send(self, pieces)
    cpdef flush(self)
    cpdef end(self)
    cpdef fail(self, fault, fields=*)
    cpdef cut(self)
    cdef _over(self, bint keep)
    cdef _let_go(self)
