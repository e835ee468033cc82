"""Lines of the access log for plain requests, as access_log.py would write them."""

from datetime import UTC, datetime

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.wire.plain cimport put, put_bytes, put_number, put_text

cdef bytes _END = b',"upload_bytes":0,"parts":0,"retries":0,"end":"ok","error_kind":""}\n'


@cython.final
cdef class LogLines:
    """Writes them one by one; the date is made once a second."""

    cdef bytes line(self, char* out, const Served* served, str remote_ip, bytes fields):
        """A line about what was `served`. `fields`: those from method to status, as JSON.

        `out` has room for the fields and 512 bytes more.
        """
        cdef timespec now
        cdef char* at = put(out, b'{"time":"', 9)
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
        at = _put_seconds(at, served.duration_s)
        at = put_bytes(at, _END)
        return PyBytes_FromStringAndSize(out, at - out)


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
