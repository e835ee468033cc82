"""How a sender is written: the interface for all that can be sent in a backend's place.

A backend answers 200 with `Fastproxy-Send: KIND:BASE64URL-JSON` (GitLab's: Gitlab-Workhorse-Send-
Data). The sender that the worker's start put under KIND into the backend's senders (registry.py) is
called in a task of its own:

    class Blob(msgspec.Struct, forbid_unknown_fields=True):  # the JSON
        oid: str

    async def send_blob(delivery: Delivery) -> None:
        blob = delivery.parse(Blob)  # raises BadOrder: the backend's fault
        async with open_somewhere(blob.oid) as source:
            delivery.respond(200, [(b"ETag", source.tag)], length=source.size)
            async for piece in source:
                await delivery.write(piece)  # waits while the client is slow
            delivery.end()

    senders["git-blob"] = send_blob

* What the backend's answer says of who may keep it and what to call it (Cache-Control, Set-Cookie,
  Content-Disposition, Content-Type ...) is kept, unless `respond` names the same field; what it
  says of its own body (ETag, Last-Modified, Content-Encoding ...) is not.
* A key that is not known is an error that names it, wherever it could be a restriction.
* HEAD is served, too: the same `respond`, and `write` sends nothing (`is_head` saves work).
* A sender raises a FastproxyError for what goes wrong: BadOrder for a bad order (502), or a
  StorageFault. Before `respond` it becomes the answer, afterwards the connection is cut.
* When the client goes the task is cancelled: clean up in `finally`, leave nothing behind.
* It may take its time, but must not block the loop; what blocks runs in a thread.
* Never put a query, a token or the whole order into a fault's detail: it is logged.
"""

from collections.abc import Awaitable
from typing import Final, Protocol, TypeVar

import msgspec

from fastproxy.errors import BadOrder
from fastproxy.exchange import Exchange
from fastproxy.handlers.coroutine import Dialogue
from fastproxy.handlers.origin import origin_head
from fastproxy.message import Headers, RequestHead, ResponseHead
from fastproxy.wire.fields import FILES_TO_SEND, PRIVATE_PREFIXES

T = TypeVar("T")

# They describe the body that is dropped. Rack::ETag, for one, adds the tag of an empty body.
_OF_THE_BODY: Final = frozenset({
    b"etag", b"last-modified", b"accept-ranges", b"content-range", b"content-encoding",
    b"content-md5", b"digest", b"repr-digest", b"content-digest",
})  # fmt: skip


class Delivery:
    """One answer to be given in the backend's place."""

    def __init__(
        self, dialogue: Dialogue, head: ResponseHead, text: bytes, *, detects: bool = False
    ) -> None:
        """`head`: the backend's; `text`: the order's JSON.

        `detects`: the backend wants the type by the first bytes; see detection.py.
        """
        self.dialogue = dialogue
        self.detects = detects
        self._head = head
        self._text = text

    @property
    def exchange(self) -> Exchange:
        """The client's request and its answer."""
        return self.dialogue.exchange

    @property
    def request(self) -> RequestHead:
        """The client's head."""
        return self.dialogue.exchange.head

    @property
    def is_head(self) -> bool:
        """Whether nobody gets a body."""
        return self.request.method == b"HEAD"

    def kept(self, lower_name: bytes) -> bytes | None:
        """A field that the backend gave its answer, and that will be sent."""
        return None if lower_name in _OF_THE_BODY else self._head.header(lower_name)

    def parse(self, kind: type[T]) -> T:
        """The order as `kind`, a msgspec Struct. Raises BadOrder."""
        try:
            return msgspec.json.decode(self._text, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadOrder(f"{kind.__name__}: {error}") from error

    def respond(self, status: int, fields: Headers, length: int | None = None) -> None:
        """Begin the answer; `length` None: it ends when it ends.

        Raises BadOrder when a field, which may come from the order, is none or no client's.
        """
        names = {name.lower().replace(b"_", b"-") for name, _ in fields}
        if any(name in FILES_TO_SEND or name.startswith(PRIVATE_PREFIXES) for name in names):
            raise BadOrder("a field that no client gets")
        taken = {name.lower() for name, _ in fields} | _OF_THE_BODY
        kept = [field for field in self._head.headers if field[0].lower() not in taken]
        if b"x-accel-buffering" not in {name.lower() for name, _ in kept}:
            kept.append((b"X-Accel-Buffering", b"no"))  # an nginx before us would only store it
        try:
            head = origin_head(status, [*kept, *fields])
        except ValueError as error:
            raise BadOrder(str(error)) from error
        head.content_length = length
        self.dialogue.respond(head)

    async def write(self, data: bytes) -> None:
        """Send some of the body, and wait for room."""
        await self.dialogue.write(data)

    def end(self, data: bytes = b"") -> None:
        """All of it was sent, or is with `data`."""
        self.dialogue.end(data)


class Sender(Protocol):
    """See the module."""

    def __call__(self, delivery: Delivery) -> Awaitable[None]:
        """Give the whole answer."""
        ...
