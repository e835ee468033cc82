from fastproxy.loop.readiness cimport Descriptor

cdef enum:
    OUT_BYTES = 96 * 1024

cdef class Output:
    cdef object _scratch
    cdef char memory[OUT_BYTES]
    cdef Py_ssize_t size  # of what is written there
    cdef Py_ssize_t read_at  # where in the read buffer that goes on
    cdef long long _second
    cdef bytes _date  # of that second

    cdef char* put_date(self, char* at) except NULL
    cdef void join(self, const unsigned char* data, Py_ssize_t at, Py_ssize_t nbytes) noexcept
    cdef void clear(self) noexcept
    cdef list send(self, Descriptor descriptor, Py_ssize_t nbytes)
    cdef Py_ssize_t _send(self, int fd, Py_ssize_t nbytes)
    cdef list _rest(self, Py_ssize_t sent, Py_ssize_t nbytes)
