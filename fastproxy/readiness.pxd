from fastproxy.deadlines cimport Timed

cdef class Reader(Timed):
    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)

cdef class Descriptor:
    cdef int fd
    cdef object _transport
    cdef Reader _reader  # while it is read here; else None
    cdef Readiness _readiness

    cdef bint is_open(self) except -1
    cpdef pause(self)
    cpdef resume(self)
    cpdef leave(self)
    cpdef forget(self)
    cdef _ready(self, unsigned int events)
    cdef bint _read_some(self) except -1

cdef class Readiness:
    cdef object _loop, _set
    cdef int _fd
    cdef list _watched  # by their number
    cdef readonly bint is_on

    cpdef bint take(self, Descriptor descriptor, Reader reader) except -1
    cdef _drop(self, Descriptor descriptor)
