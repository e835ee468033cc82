"""Files in a backend's place: by their path (X-Sendfile), or by what stands for it in a location
(X-Accel-Redirect). Only what is beneath a configured directory, and no symlink below it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from fastproxy.errors import BadOrder, NothingToSend, OwnFault
from fastproxy.handlers.beneath import Forbidden, NotServed, open_beneath
from fastproxy.handlers.conditions import Validators
from fastproxy.handlers.media_types import type_of
from fastproxy.handlers.selection import select
from fastproxy.handlers.send_file import send_file
from fastproxy.handlers.threads import in_thread, opened
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.detection import LOOKED_AT, detected

SENDS_FILES: Final = b"X-Sendfile-Type: X-Sendfile\r\n"  # Rack::Sendfile, and so GitLab, wants it


class Path(msgspec.Struct):
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


async def send_beneath(delivery: Delivery, root: str, names: Sequence[bytes]) -> None:
    """The file that `names` lead to. Raises NothingToSend, OwnFault."""
    try:
        async with opened(partial(open_beneath, root, names)) as file:
            chosen = select(delivery.request, Validators.of(file.mtime_ns, file.size), file.size)
            fields: Headers = list(chosen.fields)
            if chosen.has_body and delivery.detects and file.size:
                first = await in_thread(file.read_at, 0, LOOKED_AT)
                fields += detected(first, delivery.kept(b"content-disposition"))
            elif chosen.has_body and delivery.kept(b"content-type") is None:
                fields.append((b"Content-Type", type_of(names[-1])))
            delivery.respond(chosen.status, fields, chosen.content_length)
            if chosen.has_body and not delivery.is_head:
                await send_file(delivery.dialogue, file, chosen.offset, chosen.length)
            delivery.end()
    except NotServed as reason:
        raise NothingToSend(f"no such file beneath {root}") from reason
    except Forbidden as reason:
        raise OwnFault(f"a file beneath {root} cannot be read") from reason
    except ConnectionError:  # ExchangeOver: the client has left
        raise
    except OSError as error:  # no descriptors are left, or the disk fails
        raise OwnFault(f"a file beneath {root} cannot be opened: {error.strerror}") from error
