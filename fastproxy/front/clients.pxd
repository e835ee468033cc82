from fastproxy.exchange cimport Exchange

cdef class Client:
    cdef public int open
    cdef public double due

cdef class Clients:
    cdef int _most_open
    cdef double _interval_s, _ahead_s
    cdef dict _known
    cdef Py_ssize_t _room
    cdef public long long cut

    cpdef Client of(self, str address)
    cpdef bint enter(self, Client client)
    cpdef bint ask(self, Client client, double now)

cdef class Gate:
    cdef Clients _clients
    cdef object _serve

    cdef _judge(self, Exchange exchange)
