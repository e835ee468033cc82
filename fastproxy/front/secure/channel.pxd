from fastproxy.front.secure.reading cimport SecureReading

cdef class SecureChannel(SecureReading):
    cdef object _backlog, _outflow

    cdef list _encrypt(self)
    cpdef write(self, data)
    cpdef writelines(self, pieces)
    cpdef Py_ssize_t get_write_buffer_size(self) except -1
