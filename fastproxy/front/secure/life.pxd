from fastproxy.front.secure.records cimport Records

cdef class SecureLife:
    cdef readonly Records _records
    cdef object _host, _phase, _error, _raw, _protocol

    cdef _send(self)
    cdef _shake_hands(self)
    cdef _flush(self)
    cdef _all_is_sent(self)
    cdef _fail(self, error)
    cpdef bint is_closing(self) except -1
    cpdef write_eof(self)
    cpdef close(self)
    cpdef abort(self)
    cpdef pause_reading(self)
