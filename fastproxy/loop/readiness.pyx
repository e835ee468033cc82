"""Reading past the transports: an epoll set of our own, which the loop watches as one descriptor.

For each read uvloop calls the interpreter twice, and the kernel looks at each socket twice, for
libuv's events are level-triggered. Here it is calls in C, and edges. The transport stays the
owner: its reading pauses meanwhile, and it reads on as soon as anything but a few bytes comes: an
end, an error, more than some buffers hold. So there is no second code for the ends of connections.
"""

import select

from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.errno cimport EAGAIN, errno

from fastproxy.wire.kernel cimport unread

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout_ms)
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLRDHUP, EPOLLET

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* memory, size_t size, int flags)
    int MSG_DONTWAIT

cdef enum:
    _READS = 16  # of one connection: who brings more leaves it to the transport


cdef class Reader(Timed):
    """See readiness.pyi."""

    cpdef get_buffer(self, Py_ssize_t sizehint):
        raise NotImplementedError

    cpdef buffer_updated(self, Py_ssize_t nbytes):
        raise NotImplementedError


cdef class Descriptor:
    """See readiness.pyi."""

    def __init__(self, transport, int fd):
        self._transport = transport
        self.fd = fd

    cdef bint is_open(self) except -1:
        """Whether `fd` is ours, to be written to while nothing of the transport waits.

        A transport that is closing may have closed it, and it may be somebody else's by now.
        While it is read here nothing but a write closes it unasked: after one we leave.
        """
        return self.fd >= 0 and (self._reader is not None or not self._transport.is_closing())

    cpdef bint is_silent(self) except -1:
        """See readiness.pyi. A look at the set costs half of asking for one socket, and what it
        finds is work that is due anyway."""
        if self._reader is not None and self._readiness._is_quiet(self):
            return True
        return unread(self.fd) == 0

    @property
    def is_taken(self):
        """See readiness.pyi."""
        return self._reader is not None

    cpdef void mark(self) noexcept:
        """See readiness.pyi."""
        if self._reader is not None:
            self._marked_at = self._readiness._looks

    cpdef bint is_later(self) noexcept:
        """See readiness.pyi."""
        return self._reader is not None and self._found_at > self._marked_at

    cpdef pause(self):
        """See readiness.pyi."""
        self.leave()
        if self._transport is not None:
            self._transport.pause_reading()

    cpdef resume(self):
        """See readiness.pyi."""
        if self._reader is None and self._transport is not None:
            self._transport.resume_reading()

    cpdef leave(self):
        """See readiness.pyi."""
        if self._reader is not None:
            self._reader = None
            self._readiness._drop(self)

    cpdef forget(self):
        """See readiness.pyi."""
        self.leave()
        self._transport = None
        self.fd = -1

    cdef _ready(self, unsigned int events):
        cdef Reader reader = self._reader
        try:
            if events & ~EPOLLIN or self._read_some():
                self.leave()
                self.resume()
        except Exception as error:  # what uvloop does then
            self.leave()
            self._readiness._loop.call_exception_handler(
                {"message": "a protocol failed", "exception": error, "protocol": reader}
            )
            if self._transport is not None:
                self._transport.abort()

    cdef bint _read_some(self) except -1:
        """Until nothing is left, which a read that does not fill its memory tells.

        True: the transport has to look.
        """
        cdef Reader reader = self._reader
        cdef Py_ssize_t room, size
        for _ in range(_READS):
            memory = reader.get_buffer(-1)
            if self._reader is None:
                return False
            room = PyMemoryView_GET_BUFFER(memory).len
            size = recv(self.fd, PyMemoryView_GET_BUFFER(memory).buf, room, MSG_DONTWAIT)
            if size <= 0:
                return size == 0 or errno != EAGAIN
            memory = None  # nobody holds memory that somebody may want to give back
            reader.buffer_updated(size)
            if size < room or self._reader is None:
                return False
        return True


cdef class Readiness:
    """See readiness.pyi."""

    def __init__(self, urgent=None, at_once=_MOST):
        if not 0 < at_once <= _MOST:
            raise ValueError(f"{at_once} at once")
        self._urgent = urgent
        self._at_once = at_once
        self._watched = []
        self._fd = -1

    def start(self, loop):
        """See readiness.pyi."""
        self._loop = loop
        self._set = select.epoll()
        self._fd = self._set.fileno()
        loop.add_reader(self._fd, self._on_ready)
        self.is_on = True

    def stop(self):
        """See readiness.pyi."""
        if self.is_on:
            self.is_on = False
            self._loop.remove_reader(self._fd)
            self._set.close()

    cpdef bint take(self, Descriptor descriptor, Reader reader) except -1:
        """See readiness.pyi."""
        cdef epoll_event event
        cdef int fd = descriptor.fd
        if descriptor._reader is not None:
            if descriptor._readiness is self:
                return True
            descriptor.leave()
            descriptor.resume()  # for it may not be possible here
        event.events = EPOLLIN | EPOLLRDHUP | EPOLLET
        event.data.fd = fd
        if fd < 0 or not self.is_on or descriptor._transport.is_closing():
            return False  # of one that is closing the number may be somebody else's by now
        if epoll_ctl(self._fd, EPOLL_CTL_ADD, fd, &event):
            return False
        descriptor._transport.pause_reading()
        descriptor._readiness = self
        descriptor._is_due = False
        descriptor._found_at = descriptor._marked_at = self._looks
        descriptor._reader = reader
        while len(self._watched) <= fd:
            self._watched.append(None)
        self._watched[fd] = descriptor
        return True

    cdef _drop(self, Descriptor descriptor):
        """Its number may be another's by now."""
        cdef int fd = descriptor.fd
        if self._watched[fd] is descriptor:
            self._watched[fd] = None
            if self.is_on:
                epoll_ctl(self._fd, EPOLL_CTL_DEL, fd, NULL)

    cdef bint _look(self) except -1:
        """Find who is due besides those we know of. False: perhaps not all of them."""
        cdef int room = self._at_once - self._found
        cdef int i, found
        if not room:
            return False
        found = epoll_wait(self._fd, &self._events[self._found], room, 0)
        for i in range(self._found, self._found + found):
            descriptor = self._watched[self._events[i].data.fd]
            if descriptor is not None:
                (<Descriptor>descriptor)._is_due = True
                (<Descriptor>descriptor)._found_at = self._looks
        self._found += max(found, 0)
        if not 0 <= found < room:
            return False
        self._looks += 1
        return True

    cdef bint _is_due_after(self, int done) except -1:
        """Whether there is an event behind the first `done`."""
        if done == self._found:
            self._look()
        return done < self._found

    cdef bint _is_quiet(self, Descriptor descriptor) except -1:
        """Whether we know, while we are at work, that there is nothing to be read."""
        return (
            self._is_at_work and not descriptor._is_due and self._look() and not descriptor._is_due
        )

    cpdef catch_up(self):
        """See readiness.pyi."""
        if self.is_on and not self._is_at_work:
            self._on_ready()

    cpdef _on_ready(self):
        """Until nobody is due; after so many at once the loop has its turn."""
        cdef int i = 0
        self._found = 0
        self._is_at_work = True
        try:
            while self._is_due_after(i):
                if self._urgent is not None:
                    self._urgent.catch_up()
                descriptor = self._watched[self._events[i].data.fd]
                if descriptor is not None:  # else what came before has ended it
                    (<Descriptor>descriptor)._is_due = False
                    (<Descriptor>descriptor)._ready(self._events[i].events)
                i += 1
        finally:
            self._is_at_work = False
