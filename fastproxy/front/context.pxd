from fastproxy.loop.deadlines cimport Deadlines
from fastproxy.exchange cimport Exchange
from fastproxy.front.clients cimport Clients
from fastproxy.observe.request_id cimport RequestIds
from fastproxy.shortcut cimport Shortcut
from fastproxy.wire.head cimport RequestHeadParser
from fastproxy.wire.scratch cimport Scratch

cdef class FrontContext:
    cdef readonly object limits, reactor, reporter, serve, max_body, seat
    cdef readonly Scratch scratch
    cdef readonly RequestHeadParser parser
    cdef readonly Deadlines deadlines
    cdef readonly double header_timeout, idle_timeout
    cdef readonly tuple trusted
    cdef readonly Clients clients
    cdef readonly bint is_draining
    cdef readonly set connections
    cdef public Shortcut shortcut
    cdef public object on_client
    cdef readonly RequestIds ids

    cpdef identify(self, Exchange exchange, str peer_ip, bint is_trusted, guest)
