from fastproxy.memory.blocks cimport Holding

cdef class BufferedPart:
    cdef readonly long long number, offset, size
    cdef public bint is_last
    cdef readonly bint is_released
    cdef object _spill, _listener
    cdef list _memory
    cdef readonly Py_ssize_t slabs
    cdef long long _in_memory, _on_disk
    cdef Holding _holding
    cdef Py_ssize_t _writing

    cpdef add(self, piece)
    cdef Py_ssize_t _slabs_of(self, piece) except -1
    cpdef Py_ssize_t missing(self, long long more) except -1
    cpdef release(self)
