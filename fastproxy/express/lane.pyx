"""The express lane: plain requests to plain proxied routes, and their answers, pass in C.

The general way makes some thirty objects for a request. Most requests need none of them: their head
came in one read, a kept connection is free, and the answer comes in one read, too. For those the
lane writes the forwarded heads straight out of the read buffer. Its promise: what is sent and
counted is what the general way would have sent and counted. It has only three steps, `take`,
`body_came` and `answered`; before each it may say no, and whatever else happens in between
(`leave`) turns the trip into the Exchange it did without.
"""

from fastproxy.loop.deadlines import NEVER
from fastproxy.errors import FastproxyError
from fastproxy.front.life import BODY, HEAD, WAIT
from fastproxy.handlers.proxy.proxy_pass import ProxyPass
from fastproxy.wire.framing import LengthDecoder

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.exchange cimport Exchange
from fastproxy.express.log_line cimport LogLines, Served
from fastproxy.express.output cimport Output
from fastproxy.express.ways cimport Way, Ways
from fastproxy.front.clients cimport Client
from fastproxy.front.connection cimport ClientConnection
from fastproxy.front.context cimport FrontContext
from fastproxy.observe.request_id cimport RequestIds
from fastproxy.upstream.connection cimport UpstreamConnection
from fastproxy.wire.plain cimport (
    PlainHead, Run, put, put_bytes, put_number, put_runs, put_text, scan_request, scan_response,
)

cdef enum:
    _MAX_ANSWER_HEAD = 64 * 1024  # that of UpstreamConnection

cdef double _NEVER = NEVER


@cython.final
cdef class Lane(Shortcut):
    """See the module. One for each worker; `handlers`: by the index of their route."""

    def __init__(self, FrontContext context, table, handlers, requests_of, access_log):
        self.context = context
        self._ways = Ways(table, handlers, requests_of)
        self._lines = LogLines(access_log)
        self._out = Output(context.scratch)
        self._clients = context.clients
        self._readiness = context.reactor.readiness
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
        if client._guest is not None and client._guest.subject:
            return False
        if not scan_request(data, nbytes, &self._head) or not self._may_take(nbytes):
            return False
        way = self._ways.find(data, &self._head)
        if way.target is None or self._head.length > way.max_body or not way.target.pool.has_idle():
            return False
        trip = LaneTrip.__new__(LaneTrip)
        trip.lane = self
        trip.way = way
        trip.client = client
        trip.length = self._head.length
        trip.unread = max(self._head.length, 0) - (nbytes - self._head.size)
        trip.started_at = _now()
        trip.head = data[:self._head.size]
        trip.chain = self._head.forwarded_for
        self._identify(trip, data)
        if client._is_trusted and not self._is_known_scheme(data):
            return False
        if self._clients is not None and not self._is_welcome(trip):
            return False
        self._write_request(trip, data)
        self._out.join(data, self._head.size, nbytes)
        self._begin(trip, nbytes)
        return True

    cdef bint _may_take(self, Py_ssize_t nbytes) noexcept:
        """Whether the head came whole, and nothing but its body, within the limits."""
        cdef PlainHead* head = &self._head
        cdef long long body = head.length if head.length > 0 else 0
        return (
            nbytes <= head.size + body
            and head.count <= self._max_count
            and head.target <= self._max_target
            and head.size - 4 <= self._max_head
        )

    cdef bint _is_welcome(self, LaneTrip trip) except -1:
        """As front/clients.py has it. False: nothing was counted."""
        cdef Client asker = trip.client._client
        if not trip.client._is_trusted:
            return self._clients.ask(asker, trip.started_at)
        address = trip.remote_ip()
        if address == trip.client._remote_ip:
            return True
        asker = self._clients.of(address)
        if self._clients.enter(asker) and self._clients.ask(asker, trip.started_at):
            trip.asker = asker
            return True
        asker.open -= 1
        return False

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
        cdef char* at = put(self._out.memory, data, head.first_line)
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
            at = put_bytes(at, _scheme(trip.client))
        at = put(at, b"\r\nX-Forwarded-Host: ", 20)
        if is_trusted and head.forwarded_host.size:
            host = &head.forwarded_host
        at = put(at, data + host.at, host.size)
        at = put(at, b"\r\nX-Request-Id: ", 16)
        at = put_bytes(put(at, trip.request_id, trip.request_id_size), trip.way.hints)
        if head.length >= 0:
            at = put(at, b"\r\nContent-Length: ", 18)
            at = put_number(at, head.length)
        at = put(at, b"\r\n\r\n", 4)
        self._out.size = at - self._out.memory

    cdef _begin(self, LaneTrip trip, Py_ssize_t nbytes):
        """Send it over a kept connection, of which there is one."""
        cdef ClientConnection client = trip.client
        cdef UpstreamConnection upstream = <UpstreamConnection>trip.way.target.pool.take_idle()
        trip.upstream = upstream
        client._trip = trip
        client._pace.begin()
        if trip.unread:
            self._await_body(trip)
        else:
            client._phase = WAIT
            client.deadline = _NEVER
        upstream.begin(None, trip.way.method, trip.way.target.body_timeout_s)
        upstream._trip = trip
        self._readiness.take(client._link._descriptor, client)
        self._readiness.take(upstream._descriptor, upstream)
        trip._to_backend(nbytes)

    cdef _await_body(self, LaneTrip trip):
        """As ClientConnection.want_body does."""
        cdef ClientConnection client = trip.client
        client._phase = BODY
        client._wants_body = True
        client._pace.resume(self.context.deadlines.now)
        client._pace.size = trip.length - trip.unread
        client._wait_until(self.context.limits.body_timeout)

    cdef _write_answer(self, const unsigned char* data):
        """What Exchange.respond and write would make of it. There is room: heads have 64 KiB."""
        cdef PlainHead* head = &self._head
        cdef char* at = put(self._out.memory, data, head.first_line)
        at = put_runs(at, data, head.run, head.runs)
        if not head.is_dated:
            at = self._out.put_date(at)
        if head.length >= 0 and head.status != 204:
            at = put(at, b"Content-Length: ", 16)
            at = put_number(at, head.length)
            at = put(at, b"\r\n", 2)
        at = put(at, b"\r\n", 2)
        self._out.size = at - self._out.memory

    cdef _report(self, LaneTrip trip, int status, long long sent, double answered_at):
        """As worker/reporting.py does."""
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
            served.backend_s = answered_at - trip.started_at
            self._lines.add(&served, trip.remote_ip(), trip.way.log_fields)


@cython.final
cdef class LaneTrip(Trip):
    """See Trip."""

    cdef bint body_came(self, Py_ssize_t nbytes) except -1:
        """See Trip."""
        cdef ClientConnection client = self.client
        cdef FrontContext context = self.lane.context
        cdef double now = context.deadlines.now
        if nbytes > self.unread:
            return False
        try:
            client._pace.count(nbytes, self.way.max_body, now)
        except FastproxyError:
            return False  # `leave` sets the pace back, so it is found again there
        self.unread -= nbytes
        client.deadline = now + context.limits.body_timeout
        if not self.unread:
            client._phase = WAIT
            client._wants_body = False
            client.deadline = _NEVER
        self.lane._out.clear()
        self._to_backend(nbytes)
        return True

    cdef _to_backend(self, Py_ssize_t nbytes):
        """Send what is written, and what is read of the body."""
        cdef UpstreamConnection upstream = self.upstream
        cdef Output out = self.lane._out
        upstream._sent += out.size + nbytes - out.read_at
        rest = out.send(upstream._descriptor, nbytes)
        upstream._descriptor.mark()
        if rest is not None:
            upstream.send(rest)
        if not self.unread:
            upstream.is_request_sent = True
            upstream.expect_answer_within(self.way.target.header_timeout_s)

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
        if self.unread:
            return False
        if not scan_response(data, nbytes, head):
            return False
        is_bodyless = head.status == 204 or head.status == 304 or self.way.is_head
        body = 0 if is_bodyless else head.length
        if head.size + body != nbytes or head.size > _MAX_ANSWER_HEAD:
            return False
        if head.status >= 400 and self.way.judge is not None:
            return False
        if 0 <= head.keep_alive_s and head.keep_alive_s - 1 < upstream.idle_timeout_s:
            return False
        lane._write_answer(data)
        lane._out.join(data, head.size, nbytes)
        self._pass_on(head.status, body, nbytes)
        return True

    cdef _pass_on(self, int status, Py_ssize_t body, Py_ssize_t nbytes):
        """The answer is complete: both connections are free, the client's once it has it."""
        cdef Lane lane = self.lane
        cdef ClientConnection client = self.client
        cdef UpstreamConnection upstream = self.upstream
        cdef double answered_at = _now() if lane._lines.is_on else 0.0
        self._over()
        if self.asker is not None:
            self.asker.open -= 1
        upstream.has_answered = True
        rest = lane._out.send(client._link._descriptor, nbytes)
        if rest is not None:
            client._link.write(rest)
        # Only now: who waits for it may take another scratch.
        upstream.rest()
        self.way.target.pool.give_back(upstream)
        lane._report(self, status, body, answered_at)
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
        if self.unread:
            client._decoder = LengthDecoder(self.unread)
        client._pace.size = exchange.body_bytes
        taker = ProxyPass(exchange, self.way.target, judge=self.way.judge)
        upstream._receiver = taker.adopt(upstream, self.started_at)

    cdef Exchange _exchange(self, ClientConnection client):
        """What ClientConnection and Dispatch would have made."""
        cdef FrontContext context = self.lane.context
        cdef Exchange exchange
        head = context.parser.parse(self.head)
        exchange = Exchange(head, client, context.reporter, self.way.max_body)
        exchange.is_draining = context.is_draining
        context.identify(exchange, client._remote_ip, client._is_trusted, client._guest)
        exchange.request_id = self.request_id[:self.request_id_size].decode("ascii")
        exchange.started_at = self.started_at
        exchange.asker = self.asker
        exchange.body_bytes = max(self.length, 0) - self.unread
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


cdef bytes _scheme(ClientConnection client):
    return b"http" if client._guest is None else client._guest.scheme


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
