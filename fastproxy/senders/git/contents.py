"""What git gives out of a repository, in a backend's place: a blob, a diff, patches, a snapshot.

A program's first piece of output decides: before it what goes wrong becomes the answer, afterwards
the connection is cut. Archives are in archive.py.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from fastproxy.errors import GitFailed, NothingToSend
from fastproxy.git.orders import Blob, Difference, Snapshot
from fastproxy.git.process import GitProcess
from fastproxy.handlers.git.kit import GitRoom
from fastproxy.message import Headers
from fastproxy.senders.contract import Delivery
from fastproxy.senders.git.output import output

_SAFE_TYPE: Final = (b"X-Content-Type-Options", b"nosniff")
_PLAIN: Final = ("--no-color", "--no-ext-diff", "--no-textconv", "--full-index")
_HEADER_BYTES: Final = 200
_TAR: Final = ("--create", "--file=-", "--ignore-failed-read", "--owner=0", "--group=0")
# tar's exit status when directories have changed meanwhile, as they do at every push. git's files
# do not change, and refs are read before the objects that they name.
_CHANGED: Final = 1
# Of a repository: its refs and objects. Neither settings, which may hold secrets, nor hooks, nor
# what is still being written.
_SNAPSHOT: Final = ("HEAD", "packed-refs", "shallow", "refs", "objects")
_UNWANTED: Final = ("tmp_*", "incoming-*", "*.lock", "objects/info")


async def send_blob(room: GitRoom, delivery: Delivery, order: Blob) -> None:
    """One file's content, whose length is known."""
    process = await room.start(order.repository, ("cat-file", "--batch"))
    async with process:
        await process.inlet.write(f"{order.oid}\n".encode())
        process.inlet.close()
        header, rest = await _header(process)
        words = header.split()
        if len(words) != 3 or words[1] != b"blob":
            raise NothingToSend(f"no blob: {header.decode('latin-1')}")
        size = int(words[2])
        fields: Headers = [_SAFE_TYPE]
        if delivery.kept(b"content-type") is None:
            fields.append((b"Content-Type", b"application/octet-stream"))
        delivery.respond(200, fields, size)
        if not delivery.is_head:
            await _write(delivery, process, rest, size)
        delivery.end()


async def _header(process: GitProcess) -> tuple[bytes, bytes]:
    """What `cat-file --batch` says of an object, and the first of what follows."""
    begun = b""
    while b"\n" not in begun and len(begun) < _HEADER_BYTES:
        piece = await process.outlet.read()
        if not piece:
            raise GitFailed(f"cat-file: {process.complaints.text}")
        begun += piece
    header, _, rest = begun.partition(b"\n")
    return header, rest


async def _write(delivery: Delivery, process: GitProcess, piece: bytes, size: int) -> None:
    while size:
        await delivery.write(piece[:size])
        size -= min(len(piece), size)
        if size and not (piece := await process.outlet.read()):
            raise GitFailed(f"cat-file: {process.complaints.text}")


async def send_diff(room: GitRoom, delivery: Delivery, order: Difference) -> None:
    """From one commit to the other."""
    arguments = ("diff", *_PLAIN, "--find-renames=30%", "--end-of-options", order.left, order.right)
    await _send_text(room, delivery, order.repository, (*arguments, "--"))


async def send_patch(room: GitRoom, delivery: Delivery, order: Difference) -> None:
    """What leads from one commit to the other, a mail for each commit."""
    arguments = ("format-patch", "--stdout", *_PLAIN, "--end-of-options")
    await _send_text(
        room, delivery, order.repository, (*arguments, f"{order.left}..{order.right}", "--")
    )


async def _send_text(
    room: GitRoom, delivery: Delivery, repository: str, arguments: Sequence[str]
) -> None:
    fields: Headers = [_SAFE_TYPE]
    if delivery.kept(b"content-type") is None:
        fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
    process = await room.start(repository, arguments)
    async with process, output(process) as pieces:
        delivery.respond(200, fields)
        await _pass_on(delivery, pieces)


async def send_snapshot(room: GitRoom, delivery: Delivery, order: Snapshot) -> None:
    """All refs and objects of a repository, as a tar archive."""
    unwanted = [f"--exclude={name}" for name in _UNWANTED]
    arguments = (*_TAR, *unwanted, "--", *_SNAPSHOT)
    fields: Headers = [(b"Content-Type", b"application/x-tar"), _SAFE_TYPE]
    if delivery.kept(b"content-disposition") is None:
        fields.append((b"Content-Disposition", b'attachment; filename="snapshot.tar"'))
    process = await room.start(order.repository, arguments, program="tar")
    async with process, output(process, harmless=_CHANGED) as pieces:
        delivery.respond(200, fields)
        await _pass_on(delivery, pieces)


async def _pass_on(delivery: Delivery, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        await delivery.write(piece)
        if delivery.is_head:
            break
    delivery.end()
