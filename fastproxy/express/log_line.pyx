"""Lines of the access log for plain requests, as access_log.py would write them.

They gather here as bytes; the log asks for them when it writes (`AccessLog.sources`). A line costs
a third of what an object of it would.
"""

from datetime import UTC, datetime

import msgspec

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.wire.plain cimport put, put_bytes, put_number, put_text

cdef object _json = msgspec.json.Encoder().encode
cdef bytes _END = b',"upload_bytes":0,"parts":0,"retries":0,"end":"ok","error_kind":""}\n'


@cython.final
cdef class LogLines:
    """The lines of a worker that its log does not have yet."""

    def __init__(self, access_log):
        self._access_log = access_log
        self.is_on = access_log.enabled
        access_log.sources.append(self.take)

    def take(self) -> bytes:
        """Give the lines away."""
        cdef bytes lines = PyBytes_FromStringAndSize(self._out, self._size)
        self._size = 0
        return lines

    cdef add(self, const Served* served, str remote_ip, bytes fields):
        """A line about what was `served`. `fields`: those from method to status, as JSON.

        There is room: fields come from one read of 8 KiB, and JSON at most doubles them.
        """
        cdef timespec now
        cdef char* at = put(self._out + self._size, b'{"time":"', 9)
        if not self._size:
            self._access_log.wake()
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._second:
            self._second = now.tv_sec
            date = datetime.fromtimestamp(now.tv_sec, UTC)
            self._time = date.strftime("%Y-%m-%dT%H:%M:%S.").encode()
        at = put_bytes(at, self._time)
        at = _put_micro(at, now.tv_nsec // 1000)
        at = put(at, b'Z","request_id":"', 17)
        at = put(at, served.request_id, served.request_id_size)
        at = put(at, b'","remote_ip":"', 15)
        if "%" in remote_ip:  # the zone of an IPv6 address (RFC 4007 section 11) may be any text
            at = put_bytes(at, _json(remote_ip)[1:-1])
        else:
            at = put_text(at, remote_ip)
        at = put_bytes(at, fields)
        at = put_number(at, served.status)
        at = put(at, b',"bytes_in":', 12)
        at = put_number(at, served.received)
        at = put(at, b',"bytes_out":', 13)
        at = put_number(at, served.sent)
        at = put(at, b',"duration_s":', 14)
        at = _put_seconds(at, served.duration_s)
        at = put(at, b',"backend_s":', 13)
        at = _put_seconds(at, served.backend_s)
        at = put_bytes(at, _END)
        self._size = at - self._out
        if self._size >= FLUSH_BYTES:
            self._access_log.flush()


cdef char* _put_micro(char* at, long long microseconds) noexcept:
    """Six digits."""
    cdef int i
    for i in range(5, -1, -1):
        at[i] = <char>(48 + microseconds % 10)
        microseconds //= 10
    return at + 6


cdef char* _put_seconds(char* at, double seconds) noexcept:
    """To the microsecond, rounded down."""
    cdef long long microseconds = <long long>(seconds * 1e6)
    at = put_number(at, microseconds // 1000000)
    at = put(at, b".", 1)
    return _put_micro(at, microseconds % 1000000)
