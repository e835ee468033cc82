"""Heads of HTTP messages as values. No parsing, no sockets.

Header names keep the spelling they came with; comparison is always on lower-case ASCII bytes.
"""

Headers = list[tuple[bytes, bytes]]

NO_FIELDS: Headers = []  # shared by all that have none, as most do; nobody may change it


def find_header(headers: Headers, lower_name: bytes) -> bytes | None:
    """The value of the first field called `lower_name`, or None."""
    for name, value in headers:
        if name.lower() == lower_name:
            return value
    return None


class RequestHead:
    """One request head, already judged: what is here is unambiguous.

    `target` is the raw origin-form target (path and query). `content_length` is None when no
    Content-Length was sent; `is_chunked` and `content_length` exclude each other.
    `headers` holds what may travel on: hop-by-hop fields, framing, Host, Expect, forwarding fields
    and our own namespace are taken out and, where they mean something, have a slot of their own.
    `claims` are further fields that say who the client is (Forwarded, X-Real-IP, ...); `overrides`
    the values of fields by which a backend may see another method (X-HTTP-Method-Override).
    """

    __slots__ = (
        "claims",
        "content_length",
        "expects_continue",
        "forwarded_for",
        "forwarded_host",
        "forwarded_proto",
        "headers",
        "host",
        "is_chunked",
        "keep_alive",
        "method",
        "minor_version",
        "overrides",
        "request_id",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, minor_version: int, headers: Headers) -> None:
        self.method = method
        self.target = target
        self.minor_version = minor_version
        self.headers = headers
        self.host = b""
        self.claims: Headers = NO_FIELDS
        self.overrides: tuple[bytes, ...] = ()
        self.content_length: int | None = None
        self.is_chunked = False
        self.keep_alive = minor_version == 1
        self.expects_continue = False
        self.upgrade = b""
        self.forwarded_for = b""
        self.forwarded_proto = b""
        self.forwarded_host = b""
        self.request_id = b""

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow this head."""
        return self.is_chunked or bool(self.content_length)

    def header(self, lower_name: bytes) -> bytes | None:
        """The value of the first field called `lower_name`, or None."""
        return find_header(self.headers, lower_name)


class ResponseHead:
    """One response head; fields as in RequestHead. `keep_alive` is about its own connection.

    `controls`: fields from a backend to us, which no client gets; names in lower case, with `-`.
    """

    __slots__ = (
        "content_length",
        "controls",
        "headers",
        "is_chunked",
        "is_dated",
        "is_private",
        "keep_alive",
        "keep_alive_timeout_s",
        "minor_version",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(
        self, status: int, reason: bytes, headers: Headers, minor_version: int = 1
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.minor_version = minor_version
        self.content_length: int | None = None
        self.is_chunked = False
        self.keep_alive = minor_version == 1
        self.keep_alive_timeout_s: float | None = None
        self.is_dated = False
        self.is_private = False  # of a type that is between backends and us
        self.controls: tuple[tuple[bytes, bytes], ...] = ()
        self.upgrade = b""

    def header(self, lower_name: bytes) -> bytes | None:
        """The value of the first field called `lower_name`, or None."""
        return find_header(self.headers, lower_name)
