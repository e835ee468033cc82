"""Bytes of a file to a client: by sendfile(2), or read and written where that cannot be.

uvloop has no `loop.sendfile`. In pieces of 1 MiB and by a thread, so that no disk stops the loop,
sendfile took 0.41 to 0.50 s of CPU for a GiB in the page cache (from the loop 0.25 to 0.40 s), and
reading and writing 256 KiB at a time 0.58 to 0.73 s.
"""

import asyncio
import errno
import os
from typing import Final

from fastproxy.errors import ClientGone, OwnFault
from fastproxy.handlers.beneath import RegularFile
from fastproxy.handlers.coroutine import Dialogue
from fastproxy.handlers.threads import in_thread

PIECE: Final = 256 * 1024  # for a read
_BURST: Final = 1 << 20  # for a sendfile
_NO_SENDFILE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})  # sendfile(2)


async def send_file(
    dialogue: Dialogue, file: RegularFile, offset: int, length: int, first: bytes = b""
) -> None:
    """Send `length` bytes from `offset` on as (some of) the body, after `respond`.

    `first` was read already. Raises ExchangeOver, ClientGone, and OwnFault when the file cannot be
    read or became shorter: its length was promised.
    """
    end = offset + length
    await dialogue.write(first)
    offset += len(first)
    if offset == end:
        return
    outlet = dialogue.exchange.outlet()
    if outlet < 0:
        await _read_and_write(dialogue, file, offset, end)
        return
    try:
        await _pass(dialogue, file, offset, end, outlet)
    finally:
        asyncio.get_running_loop().remove_writer(outlet)
        os.close(outlet)


async def _pass(dialogue: Dialogue, file: RegularFile, offset: int, end: int, outlet: int) -> None:
    while offset < end:
        try:
            sent = await in_thread(file.send_to, outlet, offset, min(_BURST, end - offset))
        except BlockingIOError:
            await _room(dialogue, outlet)
            continue
        except ConnectionError as error:
            raise ClientGone(str(error)) from error
        except OSError as error:
            if error.errno not in _NO_SENDFILE:
                raise OwnFault(f"a file cannot be read: {error.strerror}") from error
            await _read_and_write(dialogue, file, offset, end)
            return
        if not sent:
            raise _shorter()
        offset += sent
        dialogue.passed(sent)
        await dialogue.room()


async def _room(dialogue: Dialogue, outlet: int) -> None:
    loop = asyncio.get_running_loop()
    dialogue.exchange.outlet_full()
    loop.add_writer(outlet, dialogue.exchange.outlet_free)
    try:
        await dialogue.room()
    finally:
        loop.remove_writer(outlet)


async def _read_and_write(dialogue: Dialogue, file: RegularFile, offset: int, end: int) -> None:
    while offset < end:
        try:
            piece = await in_thread(file.read_at, offset, min(PIECE, end - offset))
        except OSError as error:
            raise OwnFault(f"a file cannot be read: {error.strerror}") from error
        if not piece:
            raise _shorter()
        offset += len(piece)
        await dialogue.write(piece)


def _shorter() -> OwnFault:
    return OwnFault("a file became shorter while it was sent")
