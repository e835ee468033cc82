"""The open loop itself, in C: in Python a request took it as long as a proxy, and then the figures
told how full the load's core was."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout_ms)
    int EPOLL_CTL_ADD, EPOLL_CLOEXEC
    uint32_t EPOLLIN

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd* fds, unsigned long count, const timespec* timeout, const void* mask)
    short POLLIN

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* memory, size_t size, int flags)
    ssize_t send(int fd, const void* memory, size_t size, int flags)
    int MSG_DONTWAIT, MSG_NOSIGNAL

cdef enum:
    _READ = 65536
    _EVENTS = 64

cdef bytes _STATUS = b"HTTP/1.1 200"


cdef double _now() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


@cython.final
cdef class Drive:
    """See drive.pyi."""

    cdef:
        int _epoll
        int* _fds
        double* _since  # when the request that is under way was due; negative: none is
        int* _free  # a ring of connections, the one that has been free for longest at _first
        int _count, _first, _idle
        double _begin
        bytes _request, _tail
        dict _partial  # connection -> what has come of an answer
        readonly list found

    def __cinit__(self, fds, request, tail):
        cdef epoll_event event
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            PyErr_SetFromErrno(OSError)
        self._count = self._idle = len(fds)
        self._fds = <int*>PyMem_Malloc(self._count * sizeof(int))
        self._free = <int*>PyMem_Malloc(self._count * sizeof(int))
        self._since = <double*>PyMem_Malloc(self._count * sizeof(double))
        if not (self._fds and self._free and self._since):
            raise MemoryError
        for each in range(self._count):
            self._fds[each] = fds[each]
            self._free[each] = each
            self._since[each] = -1
            event.events, event.data.u32 = EPOLLIN, each
            if epoll_ctl(self._epoll, EPOLL_CTL_ADD, self._fds[each], &event):
                PyErr_SetFromErrno(OSError)
        self._request, self._tail = request, tail
        self._partial = {}
        self.found = []

    def __dealloc__(self):
        if self._epoll >= 0:
            close(self._epoll)
        PyMem_Free(self._fds)
        PyMem_Free(self._free)
        PyMem_Free(self._since)

    def run(self, const double[::1] due, double delay, double limit):
        """See drive.pyi."""
        cdef epoll_event events[_EVENTS]
        cdef Py_ssize_t sent = 0
        cdef int ready, each
        self._begin = _now() + delay
        while len(self.found) < due.shape[0] and self._elapsed() < limit:
            PyErr_CheckSignals()
            sent = self._send(due, sent)
            ready = epoll_wait(self._epoll, events, _EVENTS, 0)
            if ready <= 0:
                self._sleep(due[sent] if self._idle and sent < due.shape[0] else limit)
            for each in range(ready):
                self._receive(events[each].data.u32)
        return [self._since[each] for each in range(self._count) if self._since[each] >= 0], sent

    cdef double _elapsed(self) noexcept:
        return _now() - self._begin

    cdef Py_ssize_t _send(self, const double[::1] due, Py_ssize_t sent) except -1:
        """What is due, over the connections that have been free for longest."""
        cdef double elapsed = self._elapsed()
        cdef int each
        while self._idle and sent < due.shape[0] and due[sent] <= elapsed:
            each = self._free[self._first]
            self._first = (self._first + 1) % self._count
            self._idle -= 1
            self._since[each] = due[sent]
            sent += 1
            self._ask(self._fds[each])
        return sent

    cdef int _ask(self, int fd) except -1:
        cdef Py_ssize_t size = len(self._request)
        cdef ssize_t taken = send(fd, <const char*>self._request, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if taken < 0:
            PyErr_SetFromErrno(OSError)
        if taken < size:
            raise RuntimeError("a connection that was free takes no whole request")
        return 0

    cdef int _sleep(self, double until) except -1:
        """Until there is an answer or a request is due. epoll itself counts in milliseconds."""
        cdef int failure
        cdef pollfd readable
        cdef timespec rest
        cdef double seconds = until - self._elapsed()
        if seconds <= 0:
            return 0
        readable.fd, readable.events = self._epoll, POLLIN
        rest.tv_sec = <long>seconds
        rest.tv_nsec = <long>((seconds - rest.tv_sec) * 1e9)
        with nogil:
            failure = errno if ppoll(&readable, 1, &rest, NULL) < 0 else 0
        if failure and failure != EINTR:
            raise OSError(failure, "ppoll")
        return 0

    cdef int _receive(self, int each) except -1:
        """Some of an answer, most often all of it."""
        cdef char memory[_READ]
        cdef bytes answer
        cdef ssize_t size = recv(self._fds[each], memory, _READ, MSG_DONTWAIT)
        if size < 0:
            if errno == EAGAIN:
                return 0
            PyErr_SetFromErrno(OSError)
        answer = self._partial.pop(each, b"") + memory[:size]
        if size == 0:
            raise RuntimeError(f"{answer[:200]!r}, then closed")
        if self._since[each] < 0:
            raise RuntimeError(f"{answer[:200]!r}, which nobody asked for")
        if not answer.startswith(_STATUS[:len(answer)]):
            raise RuntimeError(f"{answer[:200]!r}")
        if answer.endswith(self._tail):
            self._answered(each)
        else:
            self._partial[each] = answer
        return 0

    cdef int _answered(self, int each) except -1:
        self.found.append(self._elapsed() - self._since[each])
        self._since[each] = -1
        self._free[(self._first + self._idle) % self._count] = each
        self._idle += 1
        return 0
