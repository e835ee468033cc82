from fastproxy.memory.account cimport Account
from fastproxy.memory.buffered_part cimport BufferedPart

cdef class UploadBuffer:
    cdef readonly Account account
    cdef readonly object signals
    cdef public object spare
    cdef object _keeper, _chunker, _needs, _spill, _stage, _arrival, _fault
    cdef Py_ssize_t _slab, _latest, _completed
    cdef BufferedPart _begun
    cdef readonly dict _parts
    cdef list _waiting
    cdef bint _tells

    cpdef room(self)
    cdef _slack(self)
    cdef _next_slab(self)
    cpdef get_buffer(self)
    cpdef buffer_updated(self, Py_ssize_t n)
    cpdef resumed(self)
    cpdef finish(self)
    cdef _drop_tail(self)
    cdef _wake(self)
    cdef _grew(self)
    cdef _collect(self)
    cdef BufferedPart _part_of(self, piece)
