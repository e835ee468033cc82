"""Archives of a commit: out of the cache, with ranges and conditions, or made now and kept.

A new one goes to the client and into the cache at the client's pace; when the cache cannot take it,
it still goes to the client.
"""

import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from urllib.parse import quote

from fastproxy.errors import BadOrder
from fastproxy.git.archive_cache import ArchiveCache, Draft, place_of
from fastproxy.git.orders import Archive, Format, Pointers
from fastproxy.handlers.git.kit import GitRoom
from fastproxy.handlers.static.beneath import Forbidden, NotServed, RegularFile, open_beneath
from fastproxy.handlers.static.conditions import Validators
from fastproxy.handlers.static.selection import select
from fastproxy.handlers.static.send_file import send_file
from fastproxy.loop.threads import in_thread, opened
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery
from fastproxy.senders.git.output import output
from fastproxy.senders.git.pointers import has_pointers, may_have_pointers

log = logging.getLogger("fastproxy.git")

_TYPES: Final[dict[Format, bytes]] = {
    "tar": b"application/x-tar",
    "tar.gz": b"application/gzip",
    "tar.bz2": b"application/x-bzip2",
    "zip": b"application/zip",
}
# git has no filter of its own for this one; the command is ours.
_FILTERS: Final = (("tar.tar.bz2.command", "bzip2 -c"),)


class ArchiveSender:
    """With the cache of the configuration, if there is one."""

    def __init__(self, room: GitRoom) -> None:
        git = room.git
        self._cache = (
            ArchiveCache(git.archive_cache, git.archive_cache_size) if git.archive_cache else None
        )

    async def send(self, room: GitRoom, delivery: Delivery, order: Archive) -> None:
        """The archive."""
        if self._cache is None or not order.cache:
            await self._make(room, delivery, order, None)
            return
        place = place_of(order)
        try:
            async with opened(partial(open_beneath, self._cache.directory, place)) as file:
                await self._send_kept(delivery, order, file)
            await in_thread(self._cache.touch, place)
        except (NotServed, Forbidden):
            await self._make(room, delivery, order, self._cache)

    async def _send_kept(self, delivery: Delivery, order: Archive, file: RegularFile) -> None:
        chosen = select(delivery.request, Validators.of(file.mtime_ns, file.size), file.size)
        body = chosen.body(_fields(delivery, order))
        length = chosen.content_length(body)
        delivery.respond(chosen.status, [*chosen.fields, *body.fields], length)
        if not delivery.is_head:
            await send_file(delivery.dialogue, file, body.pieces)
        delivery.end()

    async def _make(
        self, room: GitRoom, delivery: Delivery, order: Archive, cache: ArchiveCache | None
    ) -> None:
        if order.pointers is not Pointers.SEND and await may_have_pointers(room, order):
            await _told(room, delivery, order)
        arguments = ["archive", f"--format={order.format}", f"--prefix={order.prefix}"]
        arguments += ["--end-of-options", *order.contents]
        process = await room.start(order.repository, arguments, settings=_FILTERS)
        async with process, output(process) as pieces:
            delivery.respond(200, _fields(delivery, order))
            if delivery.is_head:
                delivery.end()
                return
            await self._pass_on(delivery, order, pieces, cache)

    async def _pass_on(
        self,
        delivery: Delivery,
        order: Archive,
        pieces: AsyncIterator[bytes],
        cache: ArchiveCache | None,
    ) -> None:
        copy = Copy(cache, order)
        try:
            async for piece in pieces:
                await copy.write(piece)
                await delivery.write(piece)
            delivery.end()  # it need not wait for the disk
            await copy.finish()
        finally:
            copy.close()


class Copy:
    """What goes into the cache meanwhile. What goes wrong with it is only told."""

    def __init__(self, cache: ArchiveCache | None, order: Archive) -> None:
        self._cache = cache
        self._order = order
        self._draft: Draft | None = None

    async def write(self, data: bytes) -> None:
        """Keep it, too."""
        if self._cache is None:
            return
        try:
            await in_thread(self._write, self._cache, data)
        except OSError as error:
            log.warning("an archive is not kept: %s", error)
            self.close()
            self._cache = None

    def _write(self, cache: ArchiveCache, data: bytes) -> None:
        if self._draft is None:
            self._draft = cache.create(place_of(self._order))
        self._draft.write(data)

    async def finish(self) -> None:
        """It is whole."""
        if self._cache is None or self._draft is None:
            return
        try:
            await in_thread(self._draft.finish)
            await in_thread(self._cache.make_room)
        except OSError as error:
            log.warning("an archive is not kept: %s", error)

    def close(self) -> None:
        """Let go; what is not finished is gone."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.close()


async def _told(room: GitRoom, delivery: Delivery, order: Archive) -> None:
    """That files of git LFS are not here. Raises BadOrder when it is not to be sent so."""
    if order.pointers is Pointers.WARN:
        place = {"request_id": delivery.exchange.request_id, "route": delivery.exchange.route_name}
        log.warning("an archive holds pointers in place of its files of git LFS", extra=place)
    elif await has_pointers(room, order):
        raise BadOrder("files of git LFS are wanted, of which only the pointers are here")


def _fields(delivery: Delivery, order: Archive) -> Headers:
    fields: Headers = [
        (b"Content-Type", _TYPES[order.format]),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if delivery.kept(b"content-disposition") is None:
        name = quote(order.file_name, safe="")
        fields.append((b"Content-Disposition", f"attachment; filename*=UTF-8''{name}".encode()))
    return fields
