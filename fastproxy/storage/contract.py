"""What a store promises. Every store passes tests/contract/test_store.py.

* An object appears whole or not at all: no reader ever sees a partial object under its key.
* `put` and `complete` return only after the store confirmed the size (and checksum, if it has one).
* `abort` and `undo` may be called again and after failures; what is already gone is no error.
* `undo` removes what its own write made and nothing else, whatever is under that key by now.
* Failures are StorageFault and nothing else; cancellation is never turned into one.
"""

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct, field


class StoreNeeds(Struct, frozen=True):
    """What parts must look like. Sizes in bytes; the last part may always be smaller.

    `part_size` is where growth begins. `equal_parts`: all but the last must have one size.
    """

    min_part: int = 5 << 20
    part_size: int = 8 << 20
    max_part: int = 5 << 30
    max_parts: int = 10_000
    max_object: int = 5 << 40
    equal_parts: bool = False


class PartBody(Protocol):
    """The bytes of one part: in memory, read back from disk, or still to come."""

    @property
    def number(self) -> int:
        """From 1."""
        ...

    @property
    def offset(self) -> int:
        """Where its first byte stands in the object."""
        ...

    @property
    def size(self) -> int: ...
    @property
    def is_retained(self) -> bool:
        """Whether it can be read again for a retry."""
        ...

    def chunks(self) -> AsyncIterator[Sequence[memoryview]]:
        """The bytes in order, in runs of views; a run is valid until the next is asked for."""
        ...


class BodyAround(Struct, eq=False):
    """Another PartBody around `body`: who inherits from it adds `chunks`."""

    body: PartBody

    @property
    def number(self) -> int:
        """See PartBody."""
        return self.body.number

    @property
    def offset(self) -> int:
        """See PartBody."""
        return self.body.offset

    @property
    def size(self) -> int:
        """See PartBody."""
        return self.body.size

    @property
    def is_retained(self) -> bool:
        """See PartBody."""
        return self.body.is_retained


class Stored(Struct, frozen=True):
    """What the store confirmed. `write_id` names the write that made it."""

    key: str
    size: int
    etag: str = ""
    path: str = ""  # local directory only
    write_id: str = ""
    checksums: dict[str, str] = field(default_factory=dict)


class Excerpt(Struct, frozen=True):
    """Some bytes of an object, and what tells this version of it from others.

    `size`: of the whole object; `modified`: Unix seconds, 0 when the store does not say.
    """

    data: bytes
    size: int
    etag: str = ""
    modified: int = 0


MAX_EXCERPT = 1 << 20  # bytes of one answer; see upstream.client


class Source(Struct, frozen=True):
    """Where one object can be read: at a signed URL, which is a secret, or as a local file.

    The file is what `names` lead to beneath `root`; no symlink is to be followed there.
    """

    url: str = ""
    root: str = ""
    names: tuple[str, ...] = ()


class Stage(Enum):
    """How far a write has come."""

    INTENT = "intent"  # a multipart upload may exist; its id is not known
    UPLOADING = "uploading"  # a multipart upload exists, nothing is visible
    COMPLETING = "completing"  # the object may be visible
    STORED = "stored"  # the object is visible and nobody was told of it
    REPORTED = "reported"  # somebody may rely on it: never removed without a refusal
    REFUSED = "refused"  # nobody will rely on it


UNFINISHED = frozenset({Stage.INTENT, Stage.UPLOADING, Stage.COMPLETING})
REMOVABLE = frozenset({Stage.COMPLETING, Stage.STORED, Stage.REFUSED})  # an object may be there


class Leftover(Struct, frozen=True):
    """A write that may have to be taken back. `since` in Unix seconds.

    `write_id` tells this write's object from any other of that key. The URLs are for presigned
    stores and are secrets.
    """

    key: str
    stage: Stage
    since: float
    write_id: str = ""
    upload_id: str = ""
    etag: str = ""
    abort_url: str = ""
    delete_url: str = ""
    get_url: str = ""


class PartUpload(Protocol):
    """One multipart upload in flight. Parts may be put in any order and several at once."""

    @property
    def upload_id(self) -> str: ...
    async def put_part(self, body: PartBody) -> None:
        """Store one part. Retries are the store's own business, within its deadline."""
        ...

    async def complete(self, size: int) -> Stored:
        """Make the object visible; `size` is what all parts add up to.

        Raises StoreMismatch when parts are missing or the store confirms another size.
        """
        ...

    async def abort(self) -> None:
        """Remove every trace. Also called when `complete` failed."""
        ...


class Store(Protocol):
    """A place for objects."""

    @property
    def needs(self) -> StoreNeeds: ...
    @property
    def place(self) -> str:
        """Where it is, without secrets; a leftover of another place is not ours to undo."""
        ...

    async def prepare(self) -> None:
        """Do now what the first request would wait for. Optional; asks the store for nothing."""
        ...

    async def put(
        self, key: str, body: PartBody, *, content_type: str = "", write_id: str = ""
    ) -> Stored:
        """Store a whole object in one request, marked with `write_id` for `undo`."""
        ...

    async def begin(
        self, key: str, *, content_type: str = "", size: int | None = None, write_id: str = ""
    ) -> PartUpload:
        """Start a multipart upload; `size` in bytes when it is known."""
        ...

    async def read(self, key: str, start: int, length: int) -> Excerpt:
        """`length` bytes from `start` on, or as many as there are; at most MAX_EXCERPT.

        Raises NotThere for no object of that key, or none that reaches `start`.
        """
        ...

    async def source(self, key: str, *, method: str = "GET") -> Source:
        """Where to read an object, if it is there, soon and by one request of `method`."""
        ...

    async def undo(self, left: Leftover) -> None:
        """Take back a write as far as it came. Another object under that key is left alone."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
