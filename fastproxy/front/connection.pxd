from fastproxy.front.body cimport BodyReading
from fastproxy.message cimport RequestHead

cdef class ClientConnection(BodyReading):
    cdef str _remote_ip
    cdef bint _is_stepping, _is_trusted

    cpdef get_buffer(self, Py_ssize_t sizehint)
    cpdef buffer_updated(self, Py_ssize_t nbytes)
    cdef _on_bytes(self, data)
    cdef _step(self)
    cdef bint _take_head(self) except -1
    cdef _begin(self, RequestHead head)
    cpdef write(self, pieces)
