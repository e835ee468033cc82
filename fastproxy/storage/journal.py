"""Writes in flight, on disk: what a killed process leaves behind is undone at the next start.

One append-only file of JSON lines a process, in `STATE_DIR/journal` (0700, files 0600: presigned
URLs are secrets). A line is the whole state of one entry; the last one counts, `left: null` ends
it. The writer holds flock(2) on its file for as long as it lives, so a file whose lock can be had
belongs to a dead process. No fsync: the page cache survives SIGKILL, and after a power failure the
store's own lifecycle rule is the net.

A write that has begun has room on the disk for all its lines (the file ends in zeros), so a disk
that fills up meanwhile stops new writes only.
"""

import asyncio
import errno
import fcntl
import logging
import mmap
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec
from msgspec import Struct

from fastproxy.errors import StorageFault, StoreRefused, StoreTimeout, StoreUnavailable
from fastproxy.storage.contract import Leftover, Stage

log = logging.getLogger("fastproxy.storage")

SUFFIX = ".jsonl"
COMPACT_LINES = 4096  # ended lines before the file is written anew
ROOM_LINES = 6  # that an entry may still need: its other stages and its end
ROOM_BYTES = 384  # what its first line lacks: an upload id, an etag
ROOM_STEP = 64 * 1024  # by which the file grows at least
PARALLEL = 16  # leftovers undone at once
GIVE_UP_S = 7 * 86400.0  # an entry nobody could undo for this long is dropped


class Entry(msgspec.Struct, frozen=True):
    """One write: which store (its configured name and place), and how far it came."""

    id: int
    store: str = ""
    place: str = ""
    left: Leftover | None = None


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Entry)


class Journal:
    """The entries of this process; without a directory they live in memory only."""

    def __init__(self, state_dir: str = "") -> None:
        """Raises StoreUnavailable when `state_dir` cannot be written."""
        self._live: dict[int, Entry] = {}
        self._next_id = 1
        self._rooms: dict[int, int] = {}  # bytes that live entries may still need
        self._promised = 0  # their sum
        self._lines = 0
        self._path = ""
        self._fd = -1
        self._end = self._size = 0  # of what is written, and of the file
        if state_dir:
            with _disk_faults():
                self._path = os.path.join(_folder(state_dir), secrets.token_hex(8) + SUFFIX)
                self._fd = _locked_file(self._path)

    def is_live(self, entry_id: int) -> bool:
        """Whether an entry has not ended."""
        return entry_id in self._live

    @property
    def live(self) -> tuple[Entry, ...]:
        """Entries that have not ended, oldest first."""
        return tuple(self._live.values())

    def begin(self, store: str, place: str, left: Leftover) -> int:
        """Write down a new entry with room for its further lines; its id. Raises StoreUnavailable.

        Room for more must be there: so says the disk now, not when the object is stored.
        """
        entry = Entry(self._next_id, store, place, left)
        self._next_id += 1
        self._make_room(entry)
        self._append(entry)
        self._live[entry.id] = entry
        return entry.id

    def left(self, entry_id: int) -> Leftover:
        """How far a live entry came. Raises KeyError."""
        left = self._live[entry_id].left
        assert left is not None  # noqa: S101 - ended entries are not in _live
        return left

    def update(self, entry_id: int, left: Leftover) -> None:
        """The entry has come further. Raises StoreUnavailable: only this process knows it then."""
        entry = self._live[entry_id] = msgspec.structs.replace(self._live[entry_id], left=left)
        self._append(entry)

    def end(self, entry_id: int) -> None:
        """Nothing is left to undo. May be called again.

        If this cannot be written, the next start finds the entry as it was last written.
        """
        if self._live.pop(entry_id, None) is None:
            return
        try:
            self._append(Entry(entry_id))
            if self._lines - len(self._live) >= COMPACT_LINES + len(self._live):
                self._compact()
        except StoreUnavailable as fault:
            log.warning("the end of a write is not written: %s", fault.detail)
        self._promised -= self._rooms.pop(entry_id, 0)

    def close(self) -> None:
        """Let the lock go; a file without live entries is removed. Idempotent."""
        if self._fd < 0:
            return
        if not self._live:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _make_room(self, entry: Entry) -> None:
        if self._fd < 0:
            return
        line = len(_line(entry))
        room = line + ROOM_LINES * (line + ROOM_BYTES)
        lacking = self._end + self._promised + room - self._size
        if lacking > 0:
            with _disk_faults():
                _allocate(self._fd, self._size, lacking + ROOM_STEP)
            self._size += lacking + ROOM_STEP
        self._rooms[entry.id] = room
        self._promised += room

    def _append(self, entry: Entry) -> None:
        if self._fd < 0:
            return
        line = _line(entry)
        with _disk_faults():
            _write(self._fd, line, self._end)
        self._end += len(line)
        self._lines += 1
        spent = min(len(line), self._rooms.get(entry.id, 0))
        self._promised -= spent
        self._rooms[entry.id] -= spent

    def _compact(self) -> None:
        """Write the live entries to a new file, locked before it has the name."""
        fresh = self._path + ".new"
        lines = b"".join(map(_line, self._live.values()))
        size = len(lines) + self._promised
        with _disk_faults():
            fd = _locked_file(fresh)
            try:
                _allocate(fd, 0, size + ROOM_STEP)
                _write(fd, lines, 0)
                os.rename(fresh, self._path)
            except OSError:
                os.unlink(fresh)
                os.close(fd)
                raise
        os.close(self._fd)
        self._fd, self._lines = fd, len(self._live)
        self._end, self._size = len(lines), size + ROOM_STEP


class Recovery(Struct):
    """What a start found: entries undone, kept for the next start, given up, and not ours to undo.

    `reported`: the backend may have accepted these, nobody knows.
    """

    undone: int = 0
    kept: int = 0
    dropped: int = 0
    reported: int = 0


async def recover(
    state_dir: str,
    undo: Callable[[Entry], Awaitable[None]],
    now: Callable[[], float] = time.time,
) -> Recovery:
    """Undo what dead processes left; entries whose store is down stay for the next time.

    `undo` gets an entry with `left` set and raises StorageFault when it could not.
    """
    result = Recovery()
    with _disk_faults():
        folder = _folder(state_dir)
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            fd = _seize(path)
            if fd >= 0:
                try:
                    await _recover_file(path, fd, undo, now(), result)
                finally:
                    os.close(fd)
    return result


async def _recover_file(
    path: str, fd: int, undo: Callable[[Entry], Awaitable[None]], now: float, result: Recovery
) -> None:
    if not path.endswith(SUFFIX):  # a compaction that was cut off; the old file is still there
        os.unlink(path)
        return
    entries, down = fold(_read_all(fd)), set[tuple[str, str]]()
    turn = asyncio.Semaphore(PARALLEL)

    async def settle(entry: Entry) -> bool:
        async with turn:
            settled = await _settled(entry, undo, now, result, down)
        if settled:
            os.write(fd, _line(Entry(entry.id)))  # if the disk is full: undone again, no harm
        return settled

    settled = await asyncio.gather(*(settle(entry) for entry in entries))
    result.kept += settled.count(False)
    if all(settled):
        os.unlink(path)


async def _settled(
    entry: Entry,
    undo: Callable[[Entry], Awaitable[None]],
    now: float,
    result: Recovery,
    down: set[tuple[str, str]],
) -> bool:
    """Whether nothing is left to do. `down`: configured stores that are not asked any more."""
    assert entry.left is not None  # noqa: S101 - fold() gives live entries only
    if entry.left.stage is Stage.REPORTED:
        key = {"key": entry.left.key}
        log.warning("report not answered before a crash, object kept", extra=key)
        result.reported += 1
        return True
    try:
        if (entry.store, entry.place) in down:
            raise StoreUnavailable("the store is down")
        await undo(entry)
    except StorageFault as fault:
        if entry.store and isinstance(fault, (StoreUnavailable, StoreTimeout)):
            down.add((entry.store, entry.place))
        if not is_hopeless(entry.left, fault) and now - entry.left.since < GIVE_UP_S:
            return False
        result.dropped += 1
        return True
    result.undone += 1
    return True


def is_hopeless(left: Leftover, fault: StorageFault) -> bool:
    """A presigned URL that is refused has expired: it will never work again."""
    return isinstance(fault, StoreRefused) and bool(left.abort_url or left.delete_url)


def fold(data: bytes) -> list[Entry]:
    """The live entries of a journal; a torn line (the process died, the disk was full) is void."""
    live: dict[int, Entry] = {}
    for line in data.splitlines():
        try:
            entry = _decoder.decode(line)
        except msgspec.DecodeError:
            continue
        if entry.left is None:
            live.pop(entry.id, None)
        else:
            live[entry.id] = entry
    return list(live.values())


def _folder(state_dir: str) -> str:
    folder = os.path.join(state_dir, "journal")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def _locked_file(path: str) -> int:
    """Create a file under a name nobody looks at, lock it, then give it its name."""
    hidden = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(hidden, flags, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.rename(hidden, path)
    return fd


def _seize(path: str) -> int:
    """Lock a dead process's file; -1 when it is alive, gone, or not a journal."""
    if os.path.basename(path).startswith("."):
        return -1
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    if os.fstat(fd).st_nlink == 0:  # another start was faster and is done with it
        os.close(fd)
        return -1
    return fd


def _read_all(fd: int) -> bytes:
    """All lines, without the room behind them."""
    if not os.fstat(fd).st_size:
        return b""
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as file:
        return file[: file.rfind(b"}") + 1]


def _line(entry: Entry) -> bytes:
    # the leading newline parts this line from one that was cut off
    return b"\n" + _encoder.encode(entry) + b"\n"


def _allocate(fd: int, at: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, at, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not every file system can
            raise


def _write(fd: int, data: bytes, at: int) -> None:
    if os.pwrite(fd, data, at) != len(data):
        raise OSError("journal: short write")


@contextmanager
def _disk_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"journal: {error}") from error
