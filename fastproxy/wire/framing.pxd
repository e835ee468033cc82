cdef class LengthDecoder:
    cdef public object remaining
    cdef public bint is_done

cdef class UntilCloseDecoder:
    cdef public bint is_done

cdef class ChunkedDecoder:
    cdef object _state
    cdef long long _remaining, _trailer_bytes
    cdef bytes _line
    cdef public bint is_done
    cdef Py_ssize_t _pass(self, Py_ssize_t available) except -1
    cdef Py_ssize_t _read_line(self, data, Py_ssize_t at) except -1
    cdef Py_ssize_t _line_limit(self) except -1
    cdef _on_line(self, bytes line)
