"""What the express lane sends at once: a head it wrote, and behind it bytes of the read buffer."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.string cimport memset

from fastproxy.wire.plain cimport put

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
    _JOINED_BYTES = 4 * 1024  # up to here a copy costs less than a second piece of a write


@cython.final
cdef class Output:
    """See the module. One for each worker; `memory` has room for every head and little more."""

    def __init__(self, scratch):
        self._scratch = scratch

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

    cdef list send(self, int fd, object transport, Py_ssize_t nbytes):
        """Write without the transport, of which nothing waits; what is left, for the transport.

        Half of what a write by the transport costs. A transport that is closing may have closed its
        descriptor, which may be somebody else's by now: so it is asked first.
        """
        cdef iovec pieces[2]
        cdef msghdr message
        cdef Py_ssize_t sent = 0
        cdef Py_ssize_t body = nbytes - self.read_at
        view = self._scratch.view
        pieces[0].iov_base = self.memory
        pieces[0].iov_len = self.size
        pieces[1].iov_base = <char*>PyMemoryView_GET_BUFFER(view).buf + self.read_at
        pieces[1].iov_len = body
        memset(&message, 0, sizeof(message))
        message.msg_iov = pieces
        message.msg_iovlen = 2 if body else 1
        if fd >= 0 and not transport.is_closing():
            sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent == self.size + body:
            return None
        return self._rest(max(sent, 0), nbytes)  # an error meets the transport, too, which tells

    cdef list _rest(self, Py_ssize_t sent, Py_ssize_t nbytes):
        view = self._scratch.view
        if sent >= self.size:
            return [view[self.read_at + sent - self.size:nbytes]]
        head = PyBytes_FromStringAndSize(self.memory + sent, self.size - sent)
        return [head, view[self.read_at:nbytes]] if self.read_at < nbytes else [head]
