"""Where plain requests go, by method, path and host as they came: asked of the router once."""

import msgspec

from fastproxy.errors import FastproxyError
from fastproxy.handlers.proxy.proxy_pass import PlainProxy

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from fastproxy.wire.plain cimport PlainHead, put

cdef enum:
    _KEY_BYTES = 512  # longer ones are rare, and would make the table heavy
    _WAYS = 4096

cdef object _json = msgspec.json.Encoder().encode
cdef Way _ELSEWHERE = Way.__new__(Way)  # for requests that the lane leaves to the general way


@cython.final
cdef class Way:
    """Where requests of one method, host and path go. Without a target: not by the lane."""

    def __init__(self, handler, resolved, bytes method, bytes host, requests):
        self.target = handler.target
        self.max_body = handler.max_body
        self.judge = handler.judge
        self.hints = b"\r\n" + handler.target.hints[:-2] if handler.target.hints else b""
        self.path = resolved.target.path
        self.route_index = resolved.route.index
        self.route_name = resolved.route.name
        self.method = method
        self.is_head = method == b"HEAD"
        self.requests = requests
        self.log_fields = b'","method":%b,"host":%b,"path":%b,"route":%b,"status":' % tuple(
            map(_json, (method.decode(), host.decode(), _path_text(resolved), self.route_name))
        )


def _path_text(resolved) -> str:
    """As the access log has it: as it came."""
    return resolved.target.raw_path.decode("ascii")


@cython.final
cdef class Ways:
    """The ways of a worker. `handlers`: by the index of their route."""

    def __init__(self, table, handlers, requests_of):
        self._table = table
        self._handlers = handlers
        self._requests_of = requests_of
        self._known = {}

    cdef Way find(self, const unsigned char* data, const PlainHead* head):
        """By "GET /path" and the host, as they came."""
        cdef Py_ssize_t line = head.method + 1 + head.path
        cdef bytes key = PyBytes_FromStringAndSize(NULL, line + 1 + head.host.size)
        cdef char* at = put(PyBytes_AS_STRING(key), data, line)
        at = put(at, b"\n", 1)
        put(at, data + head.host.at, head.host.size)
        found = self._known.get(key)
        return <Way>found if found is not None else self._ask(key, line)

    cdef Way _ask(self, bytes key, Py_ssize_t line):
        cdef bytes method, path, host
        cdef Way way = _ELSEWHERE
        method, _, path = key[:line].partition(b" ")
        host = key[line + 1:]
        try:
            resolved = self._table.resolve(method, path, host)
        except FastproxyError:
            return way
        route = resolved.route
        if route is not None and isinstance(self._handlers[route.index], PlainProxy):
            requests = self._requests_of(route.name)
            way = Way(self._handlers[route.index], resolved, method, host, requests)
        if PyBytes_GET_SIZE(key) <= _KEY_BYTES:
            if len(self._known) >= _WAYS:
                self._known.clear()
            self._known[key] = way
        return way
