"""Between GitLab's terminals and Kubernetes' channels, as Workhorse does it.

Words of the handshake, and what a message is in them; `raw` bytes are what is typed and shown:

    terminal.gitlab.com         binary: raw          base64.terminal.gitlab.com  text: base64
    channel.k8s.io              binary: N + raw      base64.channel.k8s.io       text: N + base64

N is the number of a stream: what is typed is 0, and of what is shown all are one. Such messages are
small, so each is taken whole; control frames pass between them. As frames are made anew, those that
break RFC 6455 would come out in order: they are refused.
"""

import binascii
from collections.abc import Sequence
from typing import Final

from fastproxy.channels.frames import FINAL, MASKED, Opcode, frame, measured, xored

TERMINALS: Final = (b"terminal.gitlab.com", b"base64.terminal.gitlab.com")
CHANNELS: Final = (b"channel.k8s.io", b"base64.channel.k8s.io")
WORDS: Final = (*TERMINALS, *CHANNELS)

_MOST: Final = 1 << 20  # bytes of a message
_MOST_CONTROL: Final = 125  # section 5.5
_CONTINUED: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_KNOWN: Final = frozenset((_CONTINUED, _TEXT, _BINARY, Opcode.CLOSE, Opcode.PING, Opcode.PONG))
_END_OF_INPUT: Final = b"\x04"  # what is run there ends when nobody types any more


class Untranslatable(Exception):
    """What is no frame or message that could be translated; the text says why."""


class Translation:
    """One direction: whole frames come out. `masked`: they come from a client, and go to a server.

    Behind a close frame nothing means anything, and nothing comes out.
    """

    def __init__(self, source: bytes, target: bytes, *, masked: bool) -> None:
        self._source, self._target = source, target
        self._masked = masked
        self._pending = bytearray()  # a frame that is not here as a whole
        self._message = bytearray()
        self._is_in_message = False
        self._has_closed = False
        self._has_ended = False

    def feed(self, data: Sequence[bytes | bytearray | memoryview]) -> bytes:
        """What comes of `data`. Raises Untranslatable."""
        for piece in data:
            self._pending += piece
        out = []
        while (taken := self._take()) is not None:
            head, payload = taken
            if head & 0x08:
                out.append(self._control(head, payload))
                continue
            self._message += payload
            if len(self._message) > _MOST:
                raise Untranslatable(f"a message of more than {_MOST} bytes")
            self._is_in_message = not head & FINAL
            if head & FINAL:
                out.append(self.said(_decoded(bytes(self._message), self._source)))
                self._message.clear()
        return b"".join(out)

    def said(self, raw: bytes) -> bytes:
        """A frame with all of a message."""
        is_text = self._target.startswith(b"base64.")
        payload = binascii.b2a_base64(raw, newline=False) if is_text else raw
        if self._target in CHANNELS:
            payload = (b"0" if is_text else b"\0") + payload
        first = FINAL | (_TEXT if is_text else _BINARY)
        return frame(first, payload, masked=self._masked)

    def end_of_input(self) -> bytes:
        """A frame that says that nobody types any more; nothing the second time."""
        if self._has_ended:
            return b""
        self._has_ended = True
        return self.said(_END_OF_INPUT)

    def _control(self, head: int, payload: bytes) -> bytes:
        passed = frame(head, payload, masked=self._masked)
        self._has_closed = head & 0x0F == Opcode.CLOSE
        return self.end_of_input() + passed if self._has_closed and self._masked else passed

    def _take(self) -> tuple[int, bytes] | None:
        """The first byte of the next frame and its payload, if it is here."""
        data = self._pending
        if self._has_closed:
            data.clear()
        measures = measured(data)
        if measures is None:
            return None
        at, size = measures
        self._judge(data[0], size, is_masked=bool(data[1] & MASKED))
        if len(data) < at + size:
            return None
        head, payload = data[0], bytes(data[at : at + size])
        mask = bytes(data[at - 4 : at]) if self._masked else b""
        del data[: at + size]
        return head, xored(payload, mask) if mask else payload

    def _judge(self, head: int, size: int, *, is_masked: bool) -> None:
        """Raises Untranslatable."""
        opcode = head & 0x0F
        if head & 0x70 or opcode not in _KNOWN:
            raise Untranslatable("an extension that nobody agreed upon")
        if is_masked is not self._masked:
            raise Untranslatable("a client does not mask, or a server does")
        if size > _MOST:
            raise Untranslatable(f"a frame of {size} bytes")
        if opcode & 0x08 and (size > _MOST_CONTROL or not head & FINAL):
            raise Untranslatable("a control frame that is long or in pieces")
        if not opcode & 0x08 and (opcode == _CONTINUED) is not self._is_in_message:
            raise Untranslatable("a message within another, or the rest of none")


def _decoded(message: bytes, word: bytes) -> bytes:
    if word in CHANNELS:
        message = message[1:]
    if not word.startswith(b"base64."):
        return message
    try:
        return binascii.a2b_base64(message, strict_mode=True) if message else b""
    except binascii.Error:
        raise Untranslatable("a message that is not base64") from None
