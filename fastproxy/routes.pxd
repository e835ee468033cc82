cdef class TableRoute:
    cdef readonly int index
    cdef readonly object config, pattern, takes_path
    cdef readonly str name
    cdef readonly tuple methods
    cdef bytes _host, _suffix

cdef class RouteTable:
    cdef readonly tuple rows
    cdef readonly dict _cache
    cdef bint _keeps_slash

    cpdef resolve(self, bytes method, bytes raw_target, bytes host)
