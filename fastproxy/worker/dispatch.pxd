from fastproxy.exchange cimport Exchange
from fastproxy.routes cimport RouteTable

cdef class Dispatch:
    cdef RouteTable _table
    cdef list _handlers

    cpdef serve(self, Exchange exchange)
