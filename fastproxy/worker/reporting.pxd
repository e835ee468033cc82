from fastproxy.exchange cimport Exchange

cdef class Reports:
    cdef object _access_log, _rejected, _backend_errors
    cdef dict _by_route
    cpdef report(self, Exchange exchange)
