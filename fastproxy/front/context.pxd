from fastproxy.deadlines cimport Deadlines
from fastproxy.exchange cimport Exchange
from fastproxy.observe.request_id cimport RequestIds
from fastproxy.wire.head cimport RequestHeadParser

cdef class FrontContext:
    cdef readonly object limits, reactor, reporter, serve, scratch, max_body
    cdef readonly RequestHeadParser parser
    cdef readonly Deadlines deadlines
    cdef readonly double header_timeout, idle_timeout
    cdef readonly tuple trusted
    cdef public bint is_draining
    cdef readonly set connections
    cdef RequestIds _ids

    cpdef identify(self, Exchange exchange, str peer_ip, bint is_trusted)
