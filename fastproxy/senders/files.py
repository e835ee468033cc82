"""Files in a backend's place: by their path (X-Sendfile), or by what stands for it in a location
(X-Accel-Redirect). Only what is beneath a configured directory, and no symlink below it."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from fastproxy.errors import BadOrder, NothingToSend, OwnFault
from fastproxy.handlers.static.beneath import (
    Forbidden,
    NotServed,
    RegularFile,
    open_beneath,
)
from fastproxy.handlers.static.conditions import Validators
from fastproxy.handlers.static.media_types import type_of
from fastproxy.handlers.static.selection import Body, Piece, Selection, select
from fastproxy.handlers.static.send_file import read_ahead, send_file
from fastproxy.loop.threads import opened
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.detection import LOOKED_AT, detected

SENDS_FILES: Final = b"X-Sendfile-Type: X-Sendfile\r\n"  # Rack::Sendfile, and so GitLab, wants it
_SMALL: Final = 64 << 10  # bytes, up to which they are read where the file is opened


class Path(msgspec.Struct, forbid_unknown_fields=True):
    """The order of both kinds."""

    path: str


def make_file_sender(roots: Sequence[str]) -> Sender:
    """Files by absolute paths, beneath one of `roots`."""
    places = _sorted({root: root for root in roots})

    async def send(delivery: Delivery) -> None:
        path = delivery.parse(Path).path.encode("utf-8", "surrogateescape")
        await send_beneath(delivery, *_place(path, places))

    return send


def make_location_sender(locations: Mapping[str, str]) -> Sender:
    """Files by URL paths, as nginx takes them: escaped, and their query does not matter."""
    places = _sorted(locations)

    async def send(delivery: Delivery) -> None:
        path, _, _ = delivery.parse(Path).path.partition("?")
        await send_beneath(delivery, *_place(unquote_to_bytes(path), places))

    return send


def beneath_one_of(roots: Sequence[str], path: str) -> tuple[str, list[bytes]]:
    """The root that an absolute path is beneath, and the names below it. Raises BadOrder."""
    return _place(path.encode("utf-8", "surrogateescape"), _sorted({root: root for root in roots}))


def _sorted(places: Mapping[str, str]) -> list[tuple[bytes, str]]:
    """The longest first, so that the narrowest decides; each ends with one slash."""
    found = [(prefix.rstrip("/").encode() + b"/", root) for prefix, root in places.items()]
    return sorted(found, key=lambda place: -len(place[0]))


def _place(path: bytes, places: Sequence[tuple[bytes, str]]) -> tuple[str, list[bytes]]:
    """The directory, and the names beneath it. Raises BadOrder for what is in none of `places`."""
    for prefix, root in places:
        if path.startswith(prefix):
            names = [name for name in path[len(prefix) :].split(b"/") if name not in (b"", b".")]
            if b".." in names or any(b"\0" in name for name in names):
                break
            return root, names
    raise BadOrder("a file that may not be sent: it is beneath no directory that is configured")


class _Taken(Struct):
    """What one visit to a thread brings. `file` None: all that is wanted of it is in `first`."""

    chosen: Selection
    body: Body
    first: bytes = b""
    file: RegularFile | None = None

    def close(self) -> None:
        """Let go."""
        if self.file is not None:
            self.file.close()


def _take(delivery: Delivery, root: str, names: Sequence[bytes]) -> _Taken:
    """Blocking. Raises NotServed, Forbidden, OSError."""
    file = open_beneath(root, names)
    try:
        chosen = select(delivery.request, Validators.of(file.mtime_ns, file.size), file.size)
        taken = _Taken(chosen, chosen.body(_described(delivery, chosen, file, names[-1])))
        left: Collection[Piece] = () if delivery.is_head else taken.body.pieces
        if left and len(taken.body) > _SMALL:
            taken.file = file
            return taken
        taken.first, left = read_ahead(file, left, _SMALL)
    except BaseException:
        file.close()
        raise
    file.close()
    if left:
        raise OwnFault("a file became shorter while it was read")
    return taken


def _described(delivery: Delivery, chosen: Selection, file: RegularFile, name: bytes) -> Headers:
    """What is said of all of the file: its type above all, which may be the backend's."""
    if not chosen.has_body:
        return []
    sample = file.read_at(0, LOOKED_AT) if delivery.detects else b""
    if sample:
        return detected(sample, delivery.kept(b"content-disposition"))
    told = delivery.kept(b"content-type")
    return [(b"Content-Type", type_of(name) if told is None else told)]


async def send_beneath(delivery: Delivery, root: str, names: Sequence[bytes]) -> None:
    """The file that `names` lead to. Raises NothingToSend, OwnFault."""
    try:
        async with opened(partial(_take, delivery, root, names)) as taken:
            chosen, body = taken.chosen, taken.body
            length = chosen.content_length(body)
            delivery.respond(chosen.status, [*chosen.fields, *body.fields], length)
            if taken.file is not None:
                await send_file(delivery.dialogue, taken.file, body.pieces)
            delivery.end(taken.first)
    except NotServed as reason:
        raise NothingToSend(f"no such file beneath {root}") from reason
    except Forbidden as reason:
        raise OwnFault(f"a file beneath {root} cannot be read") from reason
    except ConnectionError:  # ExchangeOver: the client has left
        raise
    except OSError as error:  # no descriptors are left, or the disk fails
        raise OwnFault(f"a file beneath {root} cannot be opened: {error.strerror}") from error
