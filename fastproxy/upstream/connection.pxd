from fastproxy.loop.deadlines cimport Deadlines
from fastproxy.message cimport ResponseHead
from fastproxy.shortcut cimport Trip
from fastproxy.upstream.link cimport Link

cdef class UpstreamConnection(Link):
    cdef object _home, _receiver, _decoder
    cdef Deadlines _deadlines
    cdef bint _is_head_request, _may_reuse, _has_eof
    cdef bytes _partial_head
    cdef Trip _trip
    cdef double _body_timeout_s
    cdef public double idle_timeout_s
    cdef public long long uses
    cdef public bint is_request_sent, has_answered
    cdef object __weakref__

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cpdef begin(self, receiver, bytes method, double body_timeout_s)
    cdef _leave_trip(self)
    cpdef expect_answer_within(self, double timeout_s)
    cpdef rest(self)
    cpdef abort(self)
    cdef _advance_all(self, data)
    cdef _advance(self, data)
    cdef _touch(self)
    cdef _read_head(self, data)
    cdef _on_head(self, ResponseHead head, bint is_alone)
    cdef _choose_decoder(self, ResponseHead head)
    cdef _keep_alive_hint(self, ResponseHead head)
    cdef _finish(self)
    cdef _fail(self, fault)
    cdef _leave(self, phase)
