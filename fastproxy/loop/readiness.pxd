from libc.stdint cimport uint32_t

from fastproxy.loop.deadlines cimport Timed

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

cdef enum:
    _MOST = 64  # events, before the loop has its turn

cdef class Reader(Timed):
    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)

cdef class Descriptor:
    cdef int fd
    cdef object _transport
    cdef Reader _reader  # while it is read here; else None
    cdef Readiness _readiness
    cdef bint _is_due  # an event of it was found and not dealt with
    cdef long long _found_at, _marked_at  # by the number of complete looks before

    cpdef bint is_silent(self) except -1
    cpdef void mark(self) noexcept
    cpdef bint is_later(self) noexcept
    cdef bint is_open(self) except -1
    cpdef pause(self)
    cpdef resume(self)
    cpdef leave(self)
    cpdef forget(self)
    cdef _ready(self, unsigned int events)
    cdef bint _read_some(self) except -1

cdef class Readiness:
    cdef object _loop, _set
    cdef int _fd, _at_once
    cdef Readiness _urgent
    cdef list _watched  # by their number
    cdef readonly bint is_on
    cdef bint _is_at_work
    cdef epoll_event _events[_MOST]
    cdef int _found
    cdef long long _looks

    cpdef bint take(self, Descriptor descriptor, Reader reader) except -1
    cdef _drop(self, Descriptor descriptor)
    cdef bint _look(self) except -1
    cdef bint _is_due_after(self, int done) except -1
    cdef bint _is_quiet(self, Descriptor descriptor) except -1
    cpdef catch_up(self)
    cpdef _on_ready(self)
