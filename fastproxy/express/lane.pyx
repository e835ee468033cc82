"""The express lane: plain requests to plain proxied routes, and their answers, pass in C.

The general way makes some thirty objects for a request. Most requests need none of them: their head
came in one read, a kept connection is free, and the answer comes in one read, too. For those the
lane writes the forwarded heads straight out of the read buffer. Its promise: what is sent and
counted is what the general way would have sent and counted. It has only two steps, `take` and
`answered`; before each it may say no, and whatever else happens in between (`leave`) turns the trip
into the Exchange it did without.
"""

from datetime import UTC, datetime

import msgspec

from fastproxy.deadlines import NEVER
from fastproxy.errors import FastproxyError
from fastproxy.front.life import HEAD, WAIT
from fastproxy.handlers.proxy_pass import PlainProxy, ProxyPass
from fastproxy.wire.date import date_field

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.exchange cimport Exchange
from fastproxy.observe.request_id cimport RequestIds
from fastproxy.front.connection cimport ClientConnection
from fastproxy.front.context cimport FrontContext
from fastproxy.upstream.connection cimport UpstreamConnection
from fastproxy.wire.plain cimport put, put_number, put_runs, scan_request, scan_response

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* data, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    _KEY_BYTES = 512  # longer ones are rare, and would make the table heavy
    _WAYS = 4096
    _MAX_ANSWER_HEAD = 64 * 1024  # that of UpstreamConnection
    _JOINED_BYTES = 16 * 1024  # up to here a copy costs less than a second piece of a write

cdef double _NEVER = NEVER
cdef object _json = msgspec.json.Encoder().encode
cdef bytes _LOG_END = b',"upload_bytes":0,"parts":0,"retries":0,"end":"ok","error_kind":""}\n'
cdef Way _ELSEWHERE = Way.__new__(Way)  # requests that the lane leaves to the general way


@cython.final
cdef class Way:
    """Where requests of one method, host and path go. Without a target: not by the lane."""

    def __init__(self, handler, resolved, bytes method, bytes host, requests):
        self.target = handler.target
        self.max_body = handler.max_body
        self.path = resolved.target.path
        self.route_index = resolved.route.index
        self.route_name = resolved.route.name
        self.method = method
        self.is_head = method == b"HEAD"
        self.requests = requests
        self.log_fields = b'","method":%b,"host":%b,"path":%b,"route":%b,"status":' % tuple(
            map(_json, (method.decode(), host.decode(), _path_text(resolved), self.route_name))
        )


def _path_text(resolved) -> str:
    """As the access log has it: as it came."""
    return resolved.target.raw_path.decode("ascii")


@cython.final
cdef class Lane(Shortcut):
    """See the module. One for each worker; `handlers`: by the index of their route."""

    def __init__(self, FrontContext context, table, handlers, requests_of, access_log):
        self.context = context
        self._table = table
        self._handlers = handlers
        self._requests_of = requests_of
        self._access_log = access_log
        self._is_logging = access_log.enabled
        self._ways = {}
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
        way = self._way(data)
        if way.target is None or not way.target.pool._idle or self._head.length > way.max_body:
            return False
        trip = LaneTrip.__new__(LaneTrip)
        trip.lane = self
        trip.way = way
        trip.client = client
        trip.length = self._head.length
        trip.started_at = _now(CLOCK_MONOTONIC)
        trip.head = data[:self._head.size]
        trip.chain = self._head.forwarded_for
        self._identify(trip, data)
        if client._is_trusted and not self._is_known_scheme(data):
            return False
        self._begin(trip, self._forwarded(trip, data, nbytes))
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

    cdef Way _way(self, const unsigned char* data):
        """By "GET /path" and the host, as they came."""
        cdef PlainHead* head = &self._head
        cdef Py_ssize_t line = head.method + 1 + head.path
        cdef bytes key = PyBytes_FromStringAndSize(NULL, line + 1 + head.host.size)
        cdef char* at = put(PyBytes_AS_STRING(key), data, line)
        at = put(at, b"\n", 1)
        put(at, data + head.host.at, head.host.size)
        found = self._ways.get(key)
        return <Way>found if found is not None else self._find(key, line)

    cdef Way _find(self, bytes key, Py_ssize_t line):
        cdef bytes method, path, host
        cdef Way way = _ELSEWHERE
        method, _, path = key[:line].partition(b" ")
        host = key[line + 1:]
        try:
            resolved = self._table.resolve(method, path, host)
        except FastproxyError:
            return way
        route = resolved.route
        if route is not None and isinstance(self._handlers[route.index], PlainProxy):
            requests = self._requests_of(route.name)
            way = Way(self._handlers[route.index], resolved, method, host, requests)
        if PyBytes_GET_SIZE(key) <= _KEY_BYTES:
            if len(self._ways) >= _WAYS:
                self._ways.clear()
            self._ways[key] = way
        return way

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
        _put_bytes(trip.request_id, ids._prefix)
        put(trip.request_id + 12, PyBytes_AS_STRING(ids._digits) + at, 20)
        trip.request_id_size = 32

    cdef bint _is_known_scheme(self, const unsigned char* data) noexcept:
        cdef Run* run = &self._head.forwarded_proto
        if not run.size:
            return True
        if run.size == 4:
            return data[run.at:run.at + 4] == b"http"
        return run.size == 5 and data[run.at:run.at + 5] == b"https"

    cdef bytes _forwarded(self, LaneTrip trip, const unsigned char* data, Py_ssize_t nbytes):
        """What handlers/forwarded.py would make of it, with the body. `_out` has room: what was
        read has at most 8 KiB, and nothing of it is written more than twice."""
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
        at = _put_text(at, trip.client._remote_ip or "127.0.0.1")
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
        at = put(at, data + head.size, nbytes - head.size)
        return PyBytes_FromStringAndSize(self._out, at - self._out)

    cdef _begin(self, LaneTrip trip, bytes message):
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
        _send(upstream._transport, upstream._fd, message)
        upstream.is_request_sent = True
        upstream.expect_answer_within(trip.way.target.header_timeout_s)

    cdef list _answer(self, const unsigned char* data, Py_ssize_t nbytes):
        """What Exchange.respond and write would make of the answer that was scanned.

        `_out` has room: a head has at most 64 KiB.
        """
        cdef PlainHead* head = &self._head
        cdef char* at = put(self._out, data, head.first_line)
        cdef bint is_joined = nbytes - head.size <= _JOINED_BYTES
        at = put_runs(at, data, head.run, head.runs)
        if not head.is_dated:
            at = self._put_date(at)
        if head.length >= 0 and head.status != 204:
            at = put(at, b"Content-Length: ", 16)
            at = put_number(at, head.length)
            at = put(at, b"\r\n", 2)
        at = put(at, b"\r\n", 2)
        if is_joined:
            at = put(at, data + head.size, nbytes - head.size)
        message = PyBytes_FromStringAndSize(self._out, at - self._out)
        return [message] if is_joined else [message, self.context.scratch.view[head.size:nbytes]]

    cdef char* _put_date(self, char* at) except NULL:
        """The field line of wire/date.py, which is the same for a second."""
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._date_second:
            self._date_second = now.tv_sec
            self._date_line = b"%b: %b\r\n" % date_field()
        return _put_bytes(at, self._date_line)

    cdef _report(self, LaneTrip trip, int status, long long sent):
        """As reporting.py does."""
        cdef double duration_s = _now(CLOCK_MONOTONIC) - trip.started_at
        trip.way.requests.count(trip.way.method, status, duration_s)
        if self._is_logging:
            self._access_log.add(self._log_line(trip, status, sent, duration_s))

    cdef bytes _log_line(self, LaneTrip trip, int status, long long sent, double duration_s):
        """The line that access_log.py would write of such a request."""
        cdef timespec now
        cdef long long microseconds = <long long>(duration_s * 1e6)
        cdef char* at = put(self._out, b'{"time":"', 9)
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._log_second:
            self._log_second = now.tv_sec
            date = datetime.fromtimestamp(now.tv_sec, UTC)
            self._log_time = date.strftime("%Y-%m-%dT%H:%M:%S.").encode()
        at = _put_bytes(at, self._log_time)
        at = _put_micro(at, now.tv_nsec // 1000)
        at = put(at, b'Z","request_id":"', 17)
        at = put(at, trip.request_id, trip.request_id_size)
        at = put(at, b'","remote_ip":"', 15)
        at = _put_text(at, trip.remote_ip())
        at = _put_bytes(at, trip.way.log_fields)
        at = put_number(at, status)
        at = put(at, b',"bytes_in":', 12)
        at = put_number(at, trip.length if trip.length > 0 else 0)
        at = put(at, b',"bytes_out":', 13)
        at = put_number(at, sent)
        at = put(at, b',"duration_s":', 14)
        at = _put_seconds(at, microseconds)
        at = put(at, b',"backend_s":', 13)
        at = _put_seconds(at, microseconds)
        at = _put_bytes(at, _LOG_END)
        return PyBytes_FromStringAndSize(self._out, at - self._out)


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
        self._pass_on(head.status, body, lane._answer(data, nbytes))
        return True

    cdef _pass_on(self, int status, Py_ssize_t sent, list pieces):
        """The answer is complete: both connections are free, the client's once it has it."""
        cdef Lane lane = self.lane
        cdef ClientConnection client = self.client
        cdef UpstreamConnection upstream = self.upstream
        self._over()
        upstream.has_answered = True
        upstream.rest()
        self.way.target.pool.give_back(upstream)
        if len(pieces) == 1:
            _send(client._link._transport, client._link._fd, pieces[0])
        else:
            client._link.write(pieces)
        lane._report(self, status, sent)
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


cdef _send(object transport, int fd, bytes message):
    """Write without the transport, of which nothing is waiting, as far as the kernel takes it.

    Half of what a write by the transport costs. A transport that is closing may have closed its
    descriptor, which may be somebody else's by now: so it is asked first.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(message)
    cdef Py_ssize_t sent = -1
    if fd >= 0 and not transport.is_closing():
        sent = send(fd, PyBytes_AS_STRING(message), size, MSG_DONTWAIT | MSG_NOSIGNAL)
    if sent < 0:  # full, or an error that the transport will meet, too, and report
        transport.write(message)
    elif sent < size:
        transport.write(message[sent:])


cdef const unsigned char* _memory(object view) noexcept:
    """Where a memoryview lies; it stays while the view is held."""
    return <const unsigned char*>PyMemoryView_GET_BUFFER(view).buf


cdef double _now(int clock) noexcept:
    """Seconds, as time.monotonic has them."""
    cdef timespec now
    clock_gettime(clock, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef bint _is_id_letter(unsigned char byte) noexcept:
    return (
        b"a" <= byte <= b"z" or b"A" <= byte <= b"Z" or b"0" <= byte <= b"9"
        or byte == b"." or byte == b"_" or byte == b"-"
    )


cdef char* _put_bytes(char* at, bytes text) noexcept:
    return put(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef char* _put_text(char* at, str text) except NULL:
    cdef Py_ssize_t size = 0
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    return put(at, utf8, size)


cdef char* _put_micro(char* at, long long microseconds) noexcept:
    """Six digits."""
    cdef int i
    for i in range(5, -1, -1):
        at[i] = <char>(48 + microseconds % 10)
        microseconds //= 10
    return at + 6


cdef char* _put_seconds(char* at, long long microseconds) noexcept:
    at = put_number(at, microseconds // 1000000)
    at = put(at, b".", 1)
    return _put_micro(at, microseconds % 1000000)
