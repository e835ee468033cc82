"""Bytes of a file to a client: by sendfile(2), or read and written where that cannot be.

uvloop has no `loop.sendfile`. What the kernel has in memory is sent at once, in pieces of 1 MiB:
0.32 s of CPU for a GiB, and 0.43 s by a thread in pieces of 4 MiB. A thread sends the rest, so that
no disk stops the loop. Reading and writing 256 KiB at a time takes half as much again.
"""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Iterable
from typing import Final

from fastproxy.errors import ClientGone, OwnFault
from fastproxy.handlers.coroutine import Dialogue
from fastproxy.handlers.static.beneath import RegularFile
from fastproxy.handlers.static.selection import Piece
from fastproxy.loop.threads import in_thread

PIECE: Final = 256 * 1024  # for a read
_AT_ONCE: Final = 1 << 20  # for a sendfile out of memory
_BURST: Final = 4 << 20  # for one by a thread
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # sendfile(2)


def read_ahead(file: RegularFile, pieces: Iterable[Piece], size: int) -> tuple[bytes, deque[Piece]]:
    """The first `size` bytes of `pieces`, fewer where the file ends; and the rest. Blocking."""
    taken: list[bytes] = []
    left = deque(pieces)
    while left and size:
        data = _read(file, left[0], size)
        if not data:
            break
        taken.append(data)
        size -= len(data)
        _advance(left, len(data))
    return b"".join(taken), left


def _read(file: RegularFile, piece: Piece, size: int) -> bytes:
    if isinstance(piece, bytes):
        return piece[:size]
    return file.read_at(piece.offset, min(piece.length, size))


def _advance(left: deque[Piece], count: int) -> None:
    """Take so many bytes off the first piece."""
    piece = left.popleft()
    rest = piece[count:] if isinstance(piece, bytes) else piece.after(count)
    if rest:
        left.appendleft(rest)


async def send_file(
    dialogue: Dialogue, file: RegularFile, pieces: Iterable[Piece], first: bytes = b""
) -> None:
    """Send `first`, which was read already, and `pieces` as (some of) the body, after `respond`.

    Raises ExchangeOver, ClientGone, and OwnFault when the file cannot be read or became shorter:
    its length was promised.
    """
    left = deque(pieces)
    await dialogue.write(first)
    if not left:
        return
    outlet = dialogue.exchange.outlet()
    if outlet < 0:
        await _read_and_write(dialogue, file, left)
        return
    try:
        await _pass(dialogue, file, left, outlet)
    finally:
        asyncio.get_running_loop().remove_writer(outlet)
        os.close(outlet)


async def _pass(dialogue: Dialogue, file: RegularFile, left: deque[Piece], outlet: int) -> None:
    while left:
        try:
            sent, wanted = await _send(file, outlet, left[0])
        except BlockingIOError:
            await _room(dialogue, outlet)
            continue
        except ConnectionError as error:
            raise ClientGone(str(error)) from error
        except OSError as error:
            if error.errno not in _NO_SENDFILE:
                raise OwnFault(f"a file cannot be read: {error.strerror}") from error
            await _read_and_write(dialogue, file, left)
            return
        if not sent:
            raise _shorter()
        _advance(left, sent)
        dialogue.passed(sent)
        if sent < wanted and left:  # it is full: that need not be found out again
            await _room(dialogue, outlet)
        else:
            await dialogue.room()


async def _send(file: RegularFile, outlet: int, piece: Piece) -> tuple[int, int]:
    """How many bytes the client took, and how many it was offered."""
    if isinstance(piece, bytes):
        return os.write(outlet, piece), len(piece)
    wanted = min(_AT_ONCE, piece.length)
    if file.is_in_memory(piece.offset, wanted):
        return file.send_to(outlet, piece.offset, wanted), wanted
    wanted = min(_BURST, piece.length)
    return await in_thread(file.send_to, outlet, piece.offset, wanted), wanted


async def _room(dialogue: Dialogue, outlet: int) -> None:
    loop = asyncio.get_running_loop()
    dialogue.exchange.outlet_full()
    loop.add_writer(outlet, dialogue.exchange.outlet_free)
    try:
        await dialogue.room()
    finally:
        loop.remove_writer(outlet)


async def _read_and_write(dialogue: Dialogue, file: RegularFile, left: deque[Piece]) -> None:
    while left:
        try:
            data, left = await in_thread(read_ahead, file, left, PIECE)
        except OSError as error:
            raise OwnFault(f"a file cannot be read: {error.strerror}") from error
        if not data:
            raise _shorter()
        await dialogue.write(data)


def _shorter() -> OwnFault:
    return OwnFault("a file became shorter while it was sent")
