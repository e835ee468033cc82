"""Archives of a commit: out of the cache, with ranges and conditions, or made now and kept.

A new one goes to the client and into the cache at the client's pace; when the cache cannot take it,
it still goes to the client.
"""

import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Final
from urllib.parse import quote

from fastproxy.git.archive_cache import ArchiveCache, Draft, place_of
from fastproxy.git.orders import Archive, Format
from fastproxy.handlers.beneath import Forbidden, NotServed, RegularFile, open_beneath
from fastproxy.handlers.conditions import Validators
from fastproxy.handlers.git_kit import GitRoom
from fastproxy.handlers.selection import select
from fastproxy.handlers.send_file import send_file
from fastproxy.handlers.threads import in_thread, opened
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery
from fastproxy.senders.git_output import output

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
        fields = [*chosen.fields, *_fields(delivery, order)]
        delivery.respond(chosen.status, fields, chosen.content_length)
        if chosen.has_body and not delivery.is_head:
            await send_file(delivery.dialogue, file, chosen.offset, chosen.length)
        delivery.end()

    async def _make(
        self, room: GitRoom, delivery: Delivery, order: Archive, cache: ArchiveCache | None
    ) -> None:
        arguments = ["archive", f"--format={order.format}", f"--prefix={order.prefix}"]
        arguments += ["--end-of-options", order.commit, *filter(None, [order.path])]
        process = await room.start(
            order.repository,
            arguments,
            settings=_FILTERS,
            variables={"GIT_LITERAL_PATHSPECS": "1"},
        )
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
            await copy.finish()
        finally:
            copy.close()
        delivery.end()


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


def _fields(delivery: Delivery, order: Archive) -> Headers:
    fields: Headers = [
        (b"Content-Type", _TYPES[order.format]),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if delivery.kept(b"content-disposition") is None:
        name = quote(order.file_name, safe="")
        fields.append((b"Content-Disposition", f"attachment; filename*=UTF-8''{name}".encode()))
    return fields
