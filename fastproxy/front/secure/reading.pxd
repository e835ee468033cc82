from fastproxy.front.secure.life cimport SecureLife

cdef class SecureReading(SecureLife):
    cdef object _ciphertext, _loop, _inflow
    cdef bytes _kept
    cdef bint _is_reading, _is_digesting

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cpdef resume_reading(self)
    cdef _digest(self, data)
    cdef bint _wants_more(self) except -1
    cdef _hand_over(self)
    cdef bint _read_some(self) except -1
    cdef _read_on(self)
    cdef _on_eof(self)
