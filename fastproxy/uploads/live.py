"""Parts that are sent while they arrive: for known lengths on routes that do not retain.

Nothing is held but a window, so such a part cannot be sent a second time.
"""

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Final

from fastproxy.errors import ClientGone, StorageFault
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import StoreNeeds
from fastproxy.uploads.digests import Digests

PIECE_BYTES: Final = 256 * 1024
# Pieces may be of any size: they are only how the window moves.
PIECES: Final = StoreNeeds(min_part=1, part_size=PIECE_BYTES, max_parts=1 << 62)


class NotRetained(StorageFault):
    """The store wants a part again that was not kept."""

    kind: ClassVar[str] = "part-not-retained"
    status = 503


class LivePart:
    """A part of `size` bytes, the next ones of `buffer`. Satisfies PartBody, but only once."""

    def __init__(
        self, buffer: UploadBuffer, digests: Digests, number: int, offset: int, size: int
    ) -> None:
        self._buffer = buffer
        self._digests = digests
        self._is_begun = False
        self.number = number
        self.offset = offset
        self.size = size

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """See PartBody. Raises NotRetained the second time, ClientGone if the stream ends early."""
        if self._is_begun:
            raise NotRetained(f"part {self.number} went out already")
        self._is_begun = True
        left = self.size
        while left:
            piece = await self._buffer.next_part()
            if piece is None:
                raise ClientGone(f"{left} bytes missing")
            try:
                await self._digests.update(piece)
                async for run in piece.chunks():
                    yield run
                left -= piece.size
            finally:
                piece.release()


def piece_sizes(part_size: int) -> int:
    """The size of pieces that fill parts of `part_size` exactly: no piece crosses a part's end."""
    count = -(-part_size // PIECE_BYTES)
    while part_size % count:
        count += 1
    return part_size // count
