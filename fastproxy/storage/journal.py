"""Writes in flight, on disk: what a killed process leaves behind is undone at the next start.

One append-only file of JSON lines a process, in `STATE_DIR/journal` (0700, files 0600: presigned
URLs are secrets). A line is the whole state of one entry; the last one counts, `left: null` ends
it. The writer holds flock(2) on its file for as long as it lives, so a file whose lock can be had
belongs to a dead process. No fsync: the page cache survives SIGKILL, and after a power failure the
store's own lifecycle rule is the net.
"""

import asyncio
import fcntl
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec

from fastproxy.errors import StorageFault, StoreRefused, StoreTimeout, StoreUnavailable
from fastproxy.storage.contract import Leftover

SUFFIX = ".jsonl"
COMPACT_LINES = 4096  # ended lines before the file is written anew
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
        self._lines = 0
        self._path = ""
        self._fd = -1
        if state_dir:
            with _disk_faults():
                self._path = os.path.join(_folder(state_dir), secrets.token_hex(8) + SUFFIX)
                self._fd = _locked_file(self._path)

    @property
    def live(self) -> tuple[Entry, ...]:
        """Entries that have not ended, oldest first."""
        return tuple(self._live.values())

    def begin(self, store: str, place: str, left: Leftover) -> int:
        """Write down a new entry; its id. Raises StoreUnavailable."""
        entry = Entry(self._next_id, store, place, left)
        self._next_id += 1
        self._append(entry)
        self._live[entry.id] = entry
        return entry.id

    def left(self, entry_id: int) -> Leftover:
        """How far a live entry came. Raises KeyError."""
        left = self._live[entry_id].left
        assert left is not None  # noqa: S101 - ended entries are not in _live
        return left

    def update(self, entry_id: int, left: Leftover) -> None:
        """The entry has come further. Raises StoreUnavailable."""
        entry = msgspec.structs.replace(self._live[entry_id], left=left)
        self._append(entry)
        self._live[entry_id] = entry

    def end(self, entry_id: int) -> None:
        """Nothing is left to undo. May be called again. Raises StoreUnavailable."""
        if entry_id not in self._live:
            return
        self._append(Entry(entry_id))
        del self._live[entry_id]
        if self._fd >= 0 and self._lines - len(self._live) >= COMPACT_LINES + len(self._live):
            with _disk_faults():
                self._compact()

    def close(self) -> None:
        """Let the lock go; a file without live entries is removed. Idempotent."""
        if self._fd < 0:
            return
        if not self._live:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _append(self, entry: Entry) -> None:
        if self._fd < 0:
            return
        with _disk_faults():
            _write_line(self._fd, entry)
        self._lines += 1

    def _compact(self) -> None:
        """Write the live entries to a new file, locked before it has the name."""
        fresh = self._path + ".new"
        fd = _locked_file(fresh)
        for entry in self._live.values():
            _write_line(fd, entry)
        os.rename(fresh, self._path)
        os.close(self._fd)
        self._fd, self._lines = fd, len(self._live)


@dataclass(slots=True)
class Recovery:
    """What a start found: entries undone, kept for the next start, and given up."""

    undone: int = 0
    kept: int = 0
    dropped: int = 0


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
            _write_line(fd, Entry(entry.id))
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
    try:
        if (entry.store, entry.place) in down:
            raise StoreUnavailable("the store is down")
        await undo(entry)
    except StorageFault as fault:
        if entry.store and isinstance(fault, (StoreUnavailable, StoreTimeout)):
            down.add((entry.store, entry.place))
        # a presigned URL that is refused has expired: it will never work again
        hopeless = isinstance(fault, StoreRefused) and bool(
            entry.left.abort_url or entry.left.delete_url
        )
        if not hopeless and now - entry.left.since < GIVE_UP_S:
            return False
        result.dropped += 1
        return True
    result.undone += 1
    return True


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
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
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
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _write_line(fd: int, entry: Entry) -> None:
    # the leading newline parts this line from one that a full disk has cut off
    line = b"\n" + _encoder.encode(entry) + b"\n"
    if os.write(fd, line) != len(line):
        raise OSError("journal: short write")


@contextmanager
def _disk_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"journal: {error}") from error
