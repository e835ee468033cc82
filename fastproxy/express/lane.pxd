from fastproxy.exchange cimport Exchange
from fastproxy.express.log_line cimport LogLines
from fastproxy.express.output cimport Output
from fastproxy.express.ways cimport Way, Ways
from fastproxy.front.clients cimport Client, Clients
from fastproxy.front.connection cimport ClientConnection
from fastproxy.front.context cimport FrontContext
from fastproxy.loop.readiness cimport Readiness
from fastproxy.shortcut cimport Shortcut, Trip
from fastproxy.upstream.connection cimport UpstreamConnection
from fastproxy.wire.plain cimport PlainHead, Run

cdef enum:
    REQUEST_ID_BYTES = 128

cdef class Lane(Shortcut):
    cdef readonly FrontContext context
    cdef Clients _clients  # None: nothing is limited
    cdef Ways _ways
    cdef LogLines _lines
    cdef int _max_count, _max_target, _max_head
    cdef PlainHead _head  # scanned last
    cdef Output _out
    cdef Readiness _readiness

    cdef bint _may_take(self, Py_ssize_t nbytes) noexcept
    cdef bint _is_welcome(self, LaneTrip trip) except -1
    cdef _identify(self, LaneTrip trip, const unsigned char* data)
    cdef _new_id(self, LaneTrip trip)
    cdef bint _is_known_scheme(self, const unsigned char* data) noexcept
    cdef _write_request(self, LaneTrip trip, const unsigned char* data)
    cdef _write_answer(self, const unsigned char* data)
    cdef _begin(self, LaneTrip trip, Py_ssize_t nbytes)
    cdef _await_body(self, LaneTrip trip)
    cdef _report(self, LaneTrip trip, int status, long long sent, double answered_at)

cdef class LaneTrip(Trip):
    cdef Lane lane
    cdef Way way
    cdef ClientConnection client
    cdef Client asker  # as an Exchange has it
    cdef UpstreamConnection upstream
    cdef bytes head  # as it came
    cdef Run chain  # X-Forwarded-For in it
    cdef long long length  # of the body; -1: there is none
    cdef long long unread  # bytes of it that the client has still to send
    cdef double started_at
    cdef char request_id[REQUEST_ID_BYTES]
    cdef int request_id_size

    cdef _to_backend(self, Py_ssize_t nbytes)
    cdef _pass_on(self, int status, Py_ssize_t body, Py_ssize_t nbytes)
    cdef Exchange _exchange(self, ClientConnection client)
    cdef _over(self)
    cdef str remote_ip(self)
