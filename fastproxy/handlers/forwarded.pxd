from fastproxy.exchange cimport Exchange

cpdef bytes forwarded_lines(Exchange exchange)
cpdef bytes request_lines(Exchange exchange)
cdef _add_forwarded(list parts, Exchange exchange)
