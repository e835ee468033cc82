"""A request body as it was before the client compressed it, never more of it at once than a pipe
holds: a few bytes may stand for gigabytes."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final

from fastproxy.errors import BadBody, BodyTooLarge, UnsupportedCoding

_GZIP: Final = 31  # zlib.h: its largest window, and the framing of RFC 1952
_PIECE: Final = 64 * 1024


def decoded(pieces: AsyncIterator[bytes], coding: bytes | None, limit: int) -> AsyncIterator[bytes]:
    """`pieces` of a body with that Content-Encoding, decoded; at most `limit` bytes.

    Raises UnsupportedCoding now; BodyTooLarge and BadBody while it is read.
    """
    name = (coding or b"identity").strip().lower()
    if name in (b"gzip", b"x-gzip"):
        return _limited(_inflated(pieces), limit)
    if name != b"identity":
        raise UnsupportedCoding(f"Content-Encoding {name[:40]!r}")
    return _limited(pieces, limit)


async def _limited(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(f"over {limit} bytes when decoded")
        yield piece


async def _inflated(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    stream = zlib.decompressobj(_GZIP)
    async for piece in pieces:
        rest, data = piece, b""
        while rest or len(data) == _PIECE:  # of which zlib may hold more
            if stream.eof and rest:
                raise BadBody("more follows the end of a gzip body")
            try:
                data = stream.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BadBody(f"gzip: {error}") from None
            rest = stream.unconsumed_tail or stream.unused_data
            if data:
                yield data
                # Who takes it may never wait, and a piece may hold a thousand of these.
                await asyncio.sleep(0)
    if not stream.eof:
        raise BadBody("a gzip body ends before its time")
