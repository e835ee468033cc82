from fastproxy.exchange cimport Exchange
from fastproxy.front.clients cimport Client
from fastproxy.front.context cimport FrontContext
from fastproxy.front.link cimport Link
from fastproxy.front.pace cimport Pace
from fastproxy.loop.readiness cimport Reader
from fastproxy.shortcut cimport Trip

cdef class ConnectionLife(Reader):
    cdef readonly FrontContext _context
    cdef Client _client
    cdef Exchange _exchange
    cdef Trip _trip
    cdef readonly Link _link
    cdef Pace _pace
    cdef bytes _pending
    cdef object _guest, _phase, _uptake
    cdef bint _wants_body
    cdef object __weakref__

    cpdef _refuse(self, fault)
    cdef bint _enter(self, str address) except -1
    cdef _leave_trip(self)
    cdef _half_closed(self)
    cdef _linger(self)
    cdef _on_lingering(self, nbytes)
    cdef _close(self)
    cdef _leave(self)
    cdef _fail_client(self, fault)
    cpdef abort(self)
    cdef _wait_as_phase_says(self)
    cdef _wait_for_progress(self)
    cdef _judge_progress(self)
    cdef _probe(self)
    cdef _wait_until(self, double timeout_s)
