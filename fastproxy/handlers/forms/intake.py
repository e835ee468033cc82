"""The bytes of a form: parsed where they were read, to its fields and into its files.

Those of files are copied once, into the memory of uploads: of a GiB this took 0.05 s, the search
for boundaries 0.09 s. When that memory has no room, or the backend is being asked for a file, the
form keeps the rest of one read and the client is paused.
"""

import asyncio
import time
from enum import Enum
from typing import Final

from fastproxy.errors import BadForm, FastproxyError, FormTooLarge
from fastproxy.exchange import Exchange
from fastproxy.handlers.forms.file import FileUpload
from fastproxy.handlers.forms.kit import FormKit
from fastproxy.uploads.answer import Permission
from fastproxy.wire.multipart import Event, FormParser
from fastproxy.wire.part_head import PartHead

_BETWEEN: Final = 16 << 10  # bytes to read at once where no file is


class Part(Enum):
    """What the bytes that come are of."""

    NONE = "none"
    FIELD = "field"
    FILE = "file"
    UNCHOSEN = "unchosen"  # a browser's field for a file, and none was chosen


class FormIntake:
    """DirectSink of its exchange, owner of its files. `news`: whoever waits should look.

    `fault`: what went wrong; nothing is taken any more. `asked`: the file that a permission is
    needed for, given by `open`.
    """

    __slots__ = ("_exchange", "_file", "_has_end", "_is_waiting", "_kit", "_latest", "_parser",
                 "_part", "_tail", "_window", "asked", "deadline", "fault", "fields", "files",
                 "news", "permission")  # fmt: skip

    def __init__(self, exchange: Exchange, kit: FormKit, parser: FormParser) -> None:
        self._exchange = exchange
        self._kit = kit
        self._parser = parser
        self._part = Part.NONE
        self._file: FileUpload | None = None  # the one that is being received
        self._is_waiting = False  # for memory, for the backend, or for the end
        self._has_end = False  # the body is complete
        self._tail = b""  # of what was read: not used yet
        self._latest = 0  # bytes that the latest read brought
        self._window: memoryview | None = None
        self.deadline = 0.0  # when all must be stored; monotonic
        self.permission: Permission | None = None  # for all files
        self.fields = kit.fields(self.stop)
        self.files: list[FileUpload] = []
        self.asked: PartHead | None = None
        self.news = asyncio.Event()
        self.fault: FastproxyError | None = None

    @property
    def is_complete(self) -> bool:
        """All of it came, and every file is stored."""
        return (
            self._has_end
            and not self._is_waiting
            and self.fault is None
            and all(file.stored is not None for file in self.files)
        )

    def open(self, head: PartHead, permission: Permission) -> None:
        """Begin a file. Raises MemoryShort, FormTooLarge, BadAuthorizeAnswer."""
        self.asked = None
        number = len(self.files) + 1
        self._file = FileUpload(self._kit.uploads, self, permission, head, number)
        self.files.append(self._file)

    def stop(self, fault: FastproxyError) -> None:
        """Take nothing any more. Other forms may have the memory of its fields at once."""
        self.fault = self.fault or fault
        self.fields.close()
        self._is_waiting = True
        self._tail = b""
        self.news.set()

    def close(self) -> None:
        """The form is over. Give back what it held."""
        self.fields.close()
        self._file = None
        for file in self.files:
            file.close()
        self.files.clear()

    # -- bytes ---------------------------------------------------------------------------------

    def _take(self, data: bytes | bytearray, view: memoryview, at: int, end: int) -> None:
        """Parse until there must be more bytes, or something must be waited for."""
        try:
            while at < end and not self._is_waiting:
                event, stop = self._parser.next(data, at, end)
                if event is Event.DATA:
                    at += self._on_data(view[at:stop])
                    continue
                at = stop
                if event is Event.PART:
                    self._on_part(self._parser.part)
                elif event is Event.PART_END:
                    self._on_part_end()
                elif event is Event.MORE:
                    break
            self._tail = bytes(data[at:end])
        except FastproxyError as fault:
            self.stop(fault)
        if self._is_waiting:
            self._exchange.pause_body()

    def _on_part(self, head: PartHead) -> None:
        if head.filename is None:
            self._part = Part.FIELD
            self.fields.begin(head)
        elif not head.filename:
            self._part = Part.UNCHOSEN
            self.fields.count()
        else:
            self._part = Part.FILE
            self._on_file(head)

    def _on_file(self, head: PartHead) -> None:
        if head.name == self._kit.route.zip_metadata:
            raise BadForm(f"a file in {head.name!r}, which only fastproxy may send")
        if len(self.files) >= self._kit.route.max_files:
            raise FormTooLarge(f"more than {self._kit.route.max_files} files")
        if self.permission is not None:
            self.open(head, self.permission)
        else:
            self.asked = head
            self._is_waiting = True
            self.news.set()

    def _on_data(self, data: memoryview) -> int:
        """How many bytes of it are used."""
        if self._part is Part.FIELD:
            self.fields.add(data)
        elif self._part is Part.UNCHOSEN:
            raise BadForm("a file without a name has bytes")
        elif self._file is not None:
            taken = self._file.feed(data)
            self._is_waiting = self._is_waiting or taken < len(data)
            return taken
        return len(data)

    def _on_part_end(self) -> None:
        if self._part is Part.FIELD:
            self.fields.end()
        elif self._file is not None:
            self._file.finish()
            self._file = None
        self._part = Part.NONE

    def take(self, pieces: list[memoryview]) -> None:
        """Bytes that were read into other memory."""
        for piece in pieces:
            data = self._tail + piece
            if self._is_waiting:
                self._tail = data
            else:
                self._take(data, memoryview(data), 0, len(data))

    def end(self) -> None:
        """The body is complete."""
        self._has_end = True
        if not self._is_waiting:
            self._finish()

    def _finish(self) -> None:
        try:
            self._parser.finish()
        except FastproxyError as fault:
            self.stop(fault)
        self.news.set()

    # -- FormOwner -----------------------------------------------------------------------------

    @property
    def seconds_left(self) -> float:
        """See FormOwner."""
        return max(0.0, self.deadline - time.monotonic())

    def pause(self) -> None:
        """See FormOwner."""
        self._is_waiting = True
        self._exchange.pause_body()

    def resume(self) -> None:
        """See FormOwner."""
        if self.fault is not None or self.asked is not None:
            return
        self._is_waiting = False
        tail, self._tail = self._tail, b""
        self._take(tail, memoryview(tail), 0, len(tail))
        if self._is_waiting:
            return
        if self._has_end:
            self._finish()
        else:
            self._exchange.want_body()

    def settled(self, fault: FastproxyError | None) -> None:
        """See FormOwner."""
        if fault is not None:
            self.stop(fault)
        self.news.set()

    # -- DirectSink ----------------------------------------------------------------------------

    def room(self) -> int:
        """See DirectSink. One read may bring more than memory has room for: see `_tail`."""
        if self._is_waiting:
            return 0
        if self._file is None:
            return _BETWEEN
        room = self._file.buffer.room()
        return room and max(room, min(2 * self._latest, self._file.buffer.ahead))

    def get_buffer(self) -> memoryview:
        """See DirectSink."""
        if self._window is None:
            self._window = self._kit.window.opened(self.room())
        return self._window

    def buffer_updated(self, nbytes: int) -> None:
        """See DirectSink."""
        window, self._window = self._kit.window, None
        self._latest = nbytes
        start, end = window.filled(self._tail, nbytes)
        self._take(window.memory, window.view(0, end), start, end)
