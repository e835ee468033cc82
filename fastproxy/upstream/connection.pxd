from fastproxy.deadlines cimport Deadlines
from fastproxy.message cimport ResponseHead
from fastproxy.readiness cimport Descriptor, Reader
from fastproxy.shortcut cimport Trip
from fastproxy.wire.scratch cimport Scratch

cdef class UpstreamConnection(Reader):
    cdef object _home, _transport, _receiver, _decoder
    cdef Scratch _scratch
    cdef Deadlines _deadlines
    cdef bint _copies, _is_head_request, _may_reuse, _has_eof
    cdef bytes _partial_head
    cdef Trip _trip
    cdef double _body_timeout_s
    cdef Descriptor _descriptor
    cdef public double idle_timeout_s
    cdef public object phase
    cdef public long long uses
    cdef public bint is_request_sent, is_blocked, has_answered
    cdef object __weakref__

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cpdef begin(self, receiver, bytes method, double body_timeout_s)
    cdef _leave_trip(self)
    cpdef send(self, pieces)
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
