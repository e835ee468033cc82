"""One member of a zip archive in a backend's place: a file out of the artifacts of a CI job."""

import base64
from collections.abc import Mapping
from typing import Final

import msgspec

from fastproxy.errors import BadOrder, NothingToSend, StoreMismatch
from fastproxy.handlers.static.media_types import type_of
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery, Sender
from fastproxy.senders.sources import Source, Sources
from fastproxy.zips.directory import NotAZip, TooLarge, find_directory
from fastproxy.zips.member import Unpacking, data_start, find_member

_WINDOW: Final = 128 << 10  # packed bytes of one read


class ZipMember(msgspec.Struct, forbid_unknown_fields=True):
    """The order: an archive, by its key or its path, and the name of a member."""

    member: str
    key: str = ""
    store: str = "default"
    path: str = ""


class ArtifactsEntry(msgspec.Struct, rename="pascal"):
    """GitLab's: a path or URL, and the name in base64."""

    archive: str
    entry: str


def make_zip_senders(sources: Sources) -> Mapping[str, Sender]:
    """By the kind of the orders: ours, and GitLab's."""

    async def send(delivery: Delivery) -> None:
        order = delivery.parse(ZipMember)
        if bool(order.key) == bool(order.path):
            raise BadOrder("an archive has a key or a path")
        archive = sources.file(order.path) if order.path else sources.object(order.store, order.key)
        await _send(delivery, archive, order.member.encode())

    async def send_entry(delivery: Delivery) -> None:
        order = delivery.parse(ArtifactsEntry)
        try:  # Ruby breaks lines
            name = base64.b64decode("".join(order.entry.split()), validate=True)
        except ValueError:
            raise BadOrder("the name of an entry is not base64") from None
        await _send(delivery, sources.location(order.archive), name)

    return {"zip-member": send, "artifacts-entry": send_entry}


async def _send(delivery: Delivery, archive: Source, name: bytes) -> None:
    try:
        place = await find_directory(archive.read, await archive.look())
        member = await find_member(archive.read, place, name)
        if member is None or name.endswith(b"/"):
            raise NothingToSend("no such member of the archive")
        unpacking = Unpacking(member)
        start = await data_start(archive.read, member, archive.size)
    except (NotAZip, TooLarge) as reason:
        raise NothingToSend(f"no archive that is served: {reason}") from reason
    delivery.respond(200, _fields(delivery, name), member.size)
    if not delivery.is_head:
        await _unpack(delivery, archive, unpacking, start, member.packed)
    delivery.end()


async def _unpack(
    delivery: Delivery, archive: Source, unpacking: Unpacking, start: int, packed: int
) -> None:
    try:
        for at in range(start, start + packed, _WINDOW):
            data = await archive.read(at, min(_WINDOW, start + packed - at))
            for piece in unpacking.feed(data):
                await delivery.write(piece)
        unpacking.finish()
    except NotAZip as reason:
        raise StoreMismatch(f"a member that does not unpack: {reason}") from reason


def _fields(delivery: Delivery, name: bytes) -> Headers:
    """Never to be shown in our origin, unless the backend says otherwise: it is anybody's file."""
    base = name.rpartition(b"/")[2]
    fields: Headers = []
    if delivery.kept(b"content-type") is None:
        fields.append((b"Content-Type", type_of(base)))
    if delivery.kept(b"content-disposition") is None:
        plain = bytes(c if 32 <= c < 127 and c not in b'"\\' else ord("_") for c in base)
        fields.append((b"Content-Disposition", b'attachment; filename="%b"' % plain))
    fields.append((b"X-Content-Type-Options", b"nosniff"))
    return fields
