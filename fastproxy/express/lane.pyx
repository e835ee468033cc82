"""The express lane: plain requests to plain proxied routes, and their answers, pass in C.

The general way makes some thirty objects for a request. Most requests need none of them: their head
came in one read, a kept connection is free, and the answer comes in one read, too. For those the
lane writes the forwarded heads straight out of the read buffer. Its promise: what is sent and
counted is what the general way would have sent and counted. It has only two steps, `take` and
`answered`; before each it may say no, and whatever else happens in between (`leave`) turns the trip
into the Exchange it did without.
"""

from fastproxy.deadlines import NEVER
from fastproxy.front.life import HEAD, WAIT
from fastproxy.handlers.proxy_pass import ProxyPass
from fastproxy.wire.date import date_field

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.exchange cimport Exchange
from fastproxy.express.log_line cimport LogLines, Served
from fastproxy.express.ways cimport Way, Ways
from fastproxy.front.connection cimport ClientConnection
from fastproxy.front.context cimport FrontContext
from fastproxy.observe.request_id cimport RequestIds
from fastproxy.upstream.connection cimport UpstreamConnection
from fastproxy.wire.plain cimport (
    PlainHead, Run, put, put_bytes, put_number, put_runs, put_text, scan_request, scan_response,
)

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    _MAX_ANSWER_HEAD = 64 * 1024  # that of UpstreamConnection
    _JOINED_BYTES = 4 * 1024  # up to here a copy costs less than a second piece of a write

cdef double _NEVER = NEVER


@cython.final
cdef class Lane(Shortcut):
    """See the module. One for each worker; `handlers`: by the index of their route."""

    def __init__(self, FrontContext context, table, handlers, requests_of, access_log):
        self.context = context
        self._ways = Ways(table, handlers, requests_of)
        self._lines = LogLines(access_log)
        self._max_count = context.limits.header_count
        self._max_target = context.limits.target_bytes
        self._max_head = context.limits.header_bytes

    cdef bint take(self, connection, Py_ssize_t nbytes) except -1:
        """See Shortcut."""
        cdef ClientConnection client = <ClientConnection>connection
        cdef const unsigned char* data = _memory(self.context.scratch.head_view)
        cdef Way way
        cdef LaneTrip trip
        if self.context.is_draining or client._link.is_blocked or client._link.has_eof:
            return False
        if not scan_request(data, nbytes, &self._head) or not self._may_take(nbytes):
            return False
        way = self._ways.find(data, &self._head)
        if way.target is None or not way.target.pool._idle or self._head.length > way.max_body:
            return False
        trip = LaneTrip.__new__(LaneTrip)
        trip.lane = self
        trip.way = way
        trip.client = client
        trip.length = self._head.length
        trip.started_at = _now()
        trip.head = data[:self._head.size]
        trip.chain = self._head.forwarded_for
        self._identify(trip, data)
        if client._is_trusted and not self._is_known_scheme(data):
            return False
        self._write_request(trip, data)
        self._join_body(data, nbytes)
        self._begin(trip, nbytes)
        return True

    cdef bint _may_take(self, Py_ssize_t nbytes) noexcept:
        """Whether head and body came whole, and nothing else, within the limits."""
        cdef PlainHead* head = &self._head
        cdef long long body = head.length if head.length > 0 else 0
        return (
            head.size + body == nbytes
            and head.count <= self._max_count
            and head.target <= self._max_target
            and head.size - 4 <= self._max_head
        )

    cdef _identify(self, LaneTrip trip, const unsigned char* data):
        """Give the request its id: a trusted peer's, if it is harmless (see request_id.py)."""
        cdef Run* run = &self._head.request_id
        cdef Py_ssize_t size = 0
        if trip.client._is_trusted and 0 < run.size <= REQUEST_ID_BYTES:
            while size < run.size and _is_id_letter(data[run.at + size]):
                size += 1
            if size == run.size:
                put(trip.request_id, data + run.at, size)
                trip.request_id_size = <int>size
                return
        self._new_id(trip)

    cdef _new_id(self, LaneTrip trip):
        """As RequestIds.new has it."""
        cdef RequestIds ids = self.context.ids
        cdef timespec now
        cdef Py_ssize_t at
        clock_gettime(CLOCK_REALTIME, &now)
        at = ids.turn(now.tv_sec * 1000 + now.tv_nsec // 1000000)
        put_bytes(trip.request_id, ids._prefix)
        put(trip.request_id + 12, PyBytes_AS_STRING(ids._digits) + at, 20)
        trip.request_id_size = 32

    cdef bint _is_known_scheme(self, const unsigned char* data) noexcept:
        cdef Run* run = &self._head.forwarded_proto
        if not run.size:
            return True
        if run.size == 4:
            return data[run.at:run.at + 4] == b"http"
        return run.size == 5 and data[run.at:run.at + 5] == b"https"

    cdef _write_request(self, LaneTrip trip, const unsigned char* data):
        """What handlers/forwarded.py would make of it. `_out` has room: a read where a head may
        start has at most 8 KiB, and nothing of it is written more than twice."""
        cdef PlainHead* head = &self._head
        cdef bint is_trusted = trip.client._is_trusted
        cdef Run* host = &head.host
        cdef char* at = put(self._out, data, head.first_line)
        at = put(at, b"Host: ", 6)
        at = put(at, data + host.at, host.size)
        at = put(at, b"\r\n", 2)
        at = put_runs(at, data, head.run, head.runs)
        if is_trusted:
            at = put_runs(at, data, head.claim, head.claims)
        at = put(at, b"X-Forwarded-For: ", 17)
        if is_trusted and head.forwarded_for.size:
            at = put(at, data + head.forwarded_for.at, head.forwarded_for.size)
            at = put(at, b", ", 2)
        at = put_text(at, trip.client._remote_ip or "127.0.0.1")
        at = put(at, b"\r\nX-Forwarded-Proto: ", 21)
        if is_trusted and head.forwarded_proto.size:
            at = put(at, data + head.forwarded_proto.at, head.forwarded_proto.size)
        else:
            at = put(at, b"http", 4)
        at = put(at, b"\r\nX-Forwarded-Host: ", 20)
        if is_trusted and head.forwarded_host.size:
            host = &head.forwarded_host
        at = put(at, data + host.at, host.size)
        at = put(at, b"\r\nX-Request-Id: ", 16)
        at = put(at, trip.request_id, trip.request_id_size)
        if head.length >= 0:
            at = put(at, b"\r\nContent-Length: ", 18)
            at = put_number(at, head.length)
        at = put(at, b"\r\n\r\n", 4)
        self._written = at - self._out

    cdef void _join_body(self, const unsigned char* data, Py_ssize_t nbytes) noexcept:
        """Put a small body behind what is written; a larger one is sent from where it is."""
        self._body_at = self._head.size
        if nbytes - self._body_at <= _JOINED_BYTES:
            put(self._out + self._written, data + self._body_at, nbytes - self._body_at)
            self._written += nbytes - self._body_at
            self._body_at = nbytes

    cdef list _send(self, int fd, object transport, Py_ssize_t nbytes):
        """Write without the transport, of which nothing waits; what is left, for the transport.

        Half of what a write by the transport costs. A transport that is closing may have closed its
        descriptor, which may be somebody else's by now: so it is asked first.
        """
        cdef iovec pieces[2]
        cdef msghdr message
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t body = nbytes - self._body_at
        pieces[0].iov_base = self._out
        pieces[0].iov_len = self._written
        pieces[1].iov_base = <void*>(_memory(self.context.scratch.view) + self._body_at)
        pieces[1].iov_len = body
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        message.msg_iovlen = 2 if body else 1
        if fd >= 0 and not transport.is_closing():
            sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent == self._written + body:
            return None
        return self._rest(max(sent, 0), nbytes)  # an error meets the transport, too, which tells

    cdef list _rest(self, Py_ssize_t sent, Py_ssize_t nbytes):
        view = self.context.scratch.view
        if sent >= self._written:
            return [view[self._body_at + sent - self._written:nbytes]]
        head = PyBytes_FromStringAndSize(self._out + sent, self._written - sent)
        return [head, view[self._body_at:nbytes]] if self._body_at < nbytes else [head]

    cdef _begin(self, LaneTrip trip, Py_ssize_t nbytes):
        """Send it over a kept connection, of which there is one."""
        cdef ClientConnection client = trip.client
        cdef UpstreamConnection upstream = <UpstreamConnection>trip.way.target.pool.take_idle()
        trip.upstream = upstream
        client._phase = WAIT
        client._trip = trip
        client.deadline = _NEVER
        client._pace.begin()
        upstream.begin(None, trip.way.method, trip.way.target.body_timeout_s)
        upstream._trip = trip
        rest = self._send(upstream._fd, upstream._transport, nbytes)
        if rest is not None:
            upstream.send(rest)
        upstream.is_request_sent = True
        upstream.expect_answer_within(trip.way.target.header_timeout_s)

    cdef _write_answer(self, const unsigned char* data):
        """What Exchange.respond and write would make of the answer that was scanned.

        `_out` has room: a head has at most 64 KiB.
        """
        cdef PlainHead* head = &self._head
        cdef char* at = put(self._out, data, head.first_line)
        at = put_runs(at, data, head.run, head.runs)
        if not head.is_dated:
            at = self._put_date(at)
        if head.length >= 0 and head.status != 204:
            at = put(at, b"Content-Length: ", 16)
            at = put_number(at, head.length)
            at = put(at, b"\r\n", 2)
        at = put(at, b"\r\n", 2)
        self._written = at - self._out

    cdef char* _put_date(self, char* at) except NULL:
        """The field line of wire/date.py, which is the same for a second."""
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._date_second:
            self._date_second = now.tv_sec
            self._date_line = b"%b: %b\r\n" % date_field()
        return put_bytes(at, self._date_line)

    cdef _report(self, LaneTrip trip, int status, long long sent):
        """As reporting.py does."""
        cdef Served served
        cdef double duration_s = _now() - trip.started_at
        trip.way.requests.count(trip.way.method, status, duration_s)
        if self._lines.is_on:
            served.request_id = trip.request_id
            served.request_id_size = trip.request_id_size
            served.status = status
            served.received = trip.length if trip.length > 0 else 0
            served.sent = sent
            served.duration_s = duration_s
            self._lines.add(&served, trip.remote_ip(), trip.way.log_fields)


@cython.final
cdef class LaneTrip(Trip):
    """See Trip."""

    cdef bint answered(self, Py_ssize_t nbytes) except -1:
        """See Trip."""
        cdef Lane lane = self.lane
        cdef PlainHead* head = &lane._head
        cdef UpstreamConnection upstream = self.upstream
        cdef const unsigned char* data = _memory(lane.context.scratch.view)
        cdef bint is_bodyless
        cdef Py_ssize_t body
        if lane.context.is_draining or upstream.is_blocked or upstream._partial_head:
            return False
        if not scan_response(data, nbytes, head):
            return False
        is_bodyless = head.status == 204 or head.status == 304 or self.way.is_head
        body = 0 if is_bodyless else head.length
        if head.size + body != nbytes or head.size > _MAX_ANSWER_HEAD:
            return False
        if 0 <= head.keep_alive_s and head.keep_alive_s - 1 < upstream.idle_timeout_s:
            return False
        lane._write_answer(data)
        lane._join_body(data, nbytes)
        self._pass_on(head.status, body, nbytes)
        return True

    cdef _pass_on(self, int status, Py_ssize_t body, Py_ssize_t nbytes):
        """The answer is complete: both connections are free, the client's once it has it."""
        cdef Lane lane = self.lane
        cdef ClientConnection client = self.client
        cdef UpstreamConnection upstream = self.upstream
        self._over()
        upstream.has_answered = True
        rest = lane._send(client._link._fd, client._link._transport, nbytes)
        if rest is not None:
            client._link.write(rest)
        # Only now: who waits for it may take another scratch.
        upstream.rest()
        self.way.target.pool.give_back(upstream)
        lane._report(self, status, body)
        if client._pending or client._link.is_blocked or client._link.has_eof:
            client.exchange_over(keep=True)
        elif client._phase is WAIT:
            client._phase = HEAD
            client._wait_until(lane.context.idle_timeout)

    cdef leave(self):
        """See Trip."""
        cdef ClientConnection client = self.client
        cdef UpstreamConnection upstream = self.upstream
        cdef Exchange exchange
        self._over()
        exchange = self._exchange(client)
        client._exchange = exchange
        client._pace.size = exchange.body_bytes
        upstream._receiver = ProxyPass(exchange, self.way.target).adopt(upstream, self.started_at)

    cdef Exchange _exchange(self, ClientConnection client):
        """What ClientConnection and Dispatch would have made."""
        cdef FrontContext context = self.lane.context
        cdef Exchange exchange
        head = context.parser.parse(self.head)
        exchange = Exchange(head, client, context.reporter, self.way.max_body)
        exchange.is_draining = context.is_draining
        context.identify(exchange, client._remote_ip, client._is_trusted)
        exchange.request_id = self.request_id[:self.request_id_size].decode("ascii")
        exchange.started_at = self.started_at
        exchange.body_bytes = self.length if self.length > 0 else 0
        exchange.path = self.way.path
        exchange.route_index = self.way.route_index
        exchange.route_name = self.way.route_name
        return exchange

    cdef _over(self):
        self.client._trip = None
        self.upstream._trip = None

    cdef str remote_ip(self):
        """As FrontContext.identify has it."""
        cdef Lane lane = self.lane
        if self.client._is_trusted and self.chain.size:
            chain = self.head[self.chain.at:self.chain.at + self.chain.size]
            return lane.context.client_of(chain) or self.client._remote_ip
        return self.client._remote_ip


cdef const unsigned char* _memory(object view) noexcept:
    """Where a memoryview lies; it stays while the view is held."""
    return <const unsigned char*>PyMemoryView_GET_BUFFER(view).buf


cdef double _now() noexcept:
    """Seconds, as time.monotonic has them."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef bint _is_id_letter(unsigned char byte) noexcept:
    return (
        b"a" <= byte <= b"z" or b"A" <= byte <= b"Z" or b"0" <= byte <= b"9"
        or byte == b"." or byte == b"_" or byte == b"-"
    )
