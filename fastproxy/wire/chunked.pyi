from fastproxy.wire.framing import Bytes

class ChunkedDecoder:
    """A body in chunks (RFC 9112 section 7.1). Satisfies BodyDecoder, which says more."""

    @property
    def is_done(self) -> bool:
        """Whether its end was there."""

    def decode(self, data: Bytes) -> tuple[list[Bytes], int]:
        """Payload and the bytes of `data` that belong to this body. Raises BadBody.

        In memory that can be written to, small pieces of payload are moved together.
        """

    def squeeze(self, window: memoryview) -> tuple[int, int]:
        """How much payload lies at the front of `window` then, and the bytes that were of this
        body. Raises BadBody, and BufferError when `window` cannot be written to."""

    def reach(self, beyond: int) -> int:
        """Bytes to read so that at most `beyond` of them are not of this body."""

    def at_eof(self) -> bool:
        """Whether the end of the connection is a proper end of this body."""
