"""Parts that are sent while they arrive: for known lengths on routes that do not retain.

Nothing is held but a window, so such a part cannot be sent a second time.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar, Final

from msgspec import Struct

from fastproxy.errors import ClientGone, StorageFault
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.storage.contract import StoreNeeds
from fastproxy.uploads.digests import Digests

PIECE_BYTES: Final = 256 * 1024
# Pieces may be cut anywhere: they are only how the window moves.
PIECES: Final = StoreNeeds(min_part=1, part_size=PIECE_BYTES, max_parts=1 << 62)


class NotRetained(StorageFault):
    """The store wants a part again that was not kept."""

    kind: ClassVar[str] = "part-not-retained"
    status = 503


class LivePart(Struct, eq=False):
    """A part of `size` bytes, the next ones of `buffer`. Satisfies PartBody, but only once.

    `judge` is called when all is hashed and before the last bytes go out: what it raises leaves the
    part incomplete, so that the store does not take it.
    """

    is_retained: ClassVar[bool] = False

    buffer: UploadBuffer
    digests: Digests
    number: int
    offset: int
    size: int
    judge: Callable[[], None] | None = None
    is_begun: bool = False

    async def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """See PartBody. Raises NotRetained the second time, ClientGone if the stream ends early."""
        if self.is_begun:
            raise NotRetained(f"part {self.number} went out already")
        self.is_begun = True
        left = self.size
        while left:
            piece = await self.buffer.next_part()
            if piece is None:
                raise ClientGone(f"{left} bytes missing")
            try:
                await self.digests.update(piece)
                left -= piece.size
                if not left and self.judge is not None:
                    self.judge()
                async for run in piece.chunks():
                    views, run = list(run), ()  # noqa: PLW2901 - no other name may hold them
                    yield views
                    # Whoever asks for the next run still holds this one, and would hold its slabs
                    # while there is none: with all uploads waiting so, none would ever come.
                    views.clear()
            finally:
                piece.release()


def piece_sizes(part_size: int, offset: int) -> int:
    """The size of the piece that begins at `offset` of the stream: none crosses a part's end.

    By offset and not by number, for the arena may have cut an earlier piece short.
    """
    return min(PIECE_BYTES, part_size - offset % part_size)
