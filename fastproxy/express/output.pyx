"""What the express lane sends at once: a head it wrote, and behind it bytes of the read buffer."""

from fastproxy.wire.date import date_field

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastproxy.wire.plain cimport put, put_bytes

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void* memory, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    _JOINED_BYTES = 4 * 1024  # up to here a copy costs less than a second piece of a write


@cython.final
cdef class Output:
    """See the module. One for each worker; `memory` has room for every head and little more."""

    def __init__(self, scratch):
        self._scratch = scratch

    cdef char* put_date(self, char* at) except NULL:
        """The field line of wire/date.py, which is the same for a second."""
        cdef timespec now
        clock_gettime(CLOCK_REALTIME, &now)
        if now.tv_sec != self._second:
            self._second = now.tv_sec
            self._date = b"%b: %b\r\n" % date_field()
        return put_bytes(at, self._date)

    cdef void join(self, const unsigned char* data, Py_ssize_t at, Py_ssize_t nbytes) noexcept:
        """What is read from `at` on follows: a little is copied, more is sent from where it is."""
        self.read_at = at
        if nbytes - at <= _JOINED_BYTES:
            put(self.memory + self.size, data + at, nbytes - at)
            self.size += nbytes - at
            self.read_at = nbytes

    cdef void clear(self) noexcept:
        """Nothing is written: only what is read will be sent."""
        self.size = self.read_at = 0

    cdef list send(self, Descriptor descriptor, Py_ssize_t nbytes):
        """Write without the transport, of which nothing waits; what is left, for the transport.

        Half of what a write by the transport costs.
        """
        cdef Py_ssize_t sent = 0
        if descriptor.is_open():
            sent = self._send(descriptor.fd, nbytes)
        if sent == self.size + nbytes - self.read_at:
            return None
        return self._rest(max(sent, 0), nbytes)  # an error meets the transport, too, which tells

    cdef Py_ssize_t _send(self, int fd, Py_ssize_t nbytes):
        cdef iovec pieces[2]
        cdef msghdr message
        cdef Py_ssize_t body = nbytes - self.read_at
        cdef char* read
        if not body:
            return send(fd, self.memory, self.size, MSG_DONTWAIT | MSG_NOSIGNAL)
        read = <char*>PyMemoryView_GET_BUFFER(self._scratch.view).buf + self.read_at
        if not self.size:
            return send(fd, read, body, MSG_DONTWAIT | MSG_NOSIGNAL)
        pieces[0].iov_base = self.memory
        pieces[0].iov_len = self.size
        pieces[1].iov_base = read
        pieces[1].iov_len = body
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        message.msg_iovlen = 2
        return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)

    cdef list _rest(self, Py_ssize_t sent, Py_ssize_t nbytes):
        view = self._scratch.view
        if sent >= self.size:
            return [view[self.read_at + sent - self.size:nbytes]]
        head = PyBytes_FromStringAndSize(self.memory + sent, self.size - sent)
        return [head, view[self.read_at:nbytes]] if self.read_at < nbytes else [head]
