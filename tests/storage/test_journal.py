"""The journal: torn lines, living and dead writers, stores that are down."""

import asyncio
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fastproxy.errors import StoreRefused, StoreUnavailable
from fastproxy.storage import journal as journal_module
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Entry, Journal, Recovery, fold, recover
from tests.storage.full_disk import fill
from tests.support import child
from tests.support.examples import examples

LEFT = Leftover("k", Stage.INTENT, since=1000.0, write_id="w")


class Undoer:
    """Notes what it is asked to undo; raises `fault` while there is one."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.seen: list[Entry] = []

    async def __call__(self, entry: Entry) -> None:
        self.seen.append(entry)
        if self.fault:
            raise self.fault


def recovered(tmp: Path, undo: Undoer, now: float = 1001.0) -> Recovery:
    return asyncio.run(recover(str(tmp), undo, lambda: now))


def abandon(journal: Journal) -> None:
    """What SIGKILL does to a writer: the lock goes, the file stays."""
    os.close(journal._fd)
    journal._fd = -1


def files(tmp: Path) -> list[str]:
    return sorted(p.name for p in (tmp / "journal").iterdir())


def test_a_dead_writers_entries_are_undone_once(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    first = journal.begin("s", "place", LEFT)
    journal.begin("s", "place", replace(LEFT, key="other"))
    journal.update(first, replace(LEFT, stage=Stage.UPLOADING, upload_id="u"))
    journal.end(journal.begin("s", "place", replace(LEFT, key="done")))
    abandon(journal)
    undo = Undoer()
    assert recovered(tmp_path, undo) == Recovery(undone=2)
    assert [e.left.key for e in undo.seen if e.left] == ["k", "other"]
    assert undo.seen[0].left == replace(LEFT, stage=Stage.UPLOADING, upload_id="u")
    assert files(tmp_path) == []
    assert recovered(tmp_path, undo) == Recovery()


def test_a_living_writers_entries_are_left_alone(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("s", "place", LEFT)
    assert recovered(tmp_path, Undoer()) == Recovery()
    assert len(files(tmp_path)) == 1
    journal.close()
    assert len(files(tmp_path)) == 1  # an entry is open: it is the next start's
    assert recovered(tmp_path, Undoer()) == Recovery(undone=1)


def test_an_entry_is_kept_while_its_store_is_down(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for key in ("up", "down"):
        journal.begin("s", "place", replace(LEFT, key=key))
    abandon(journal)

    class HalfDown(Undoer):
        async def __call__(self, entry: Entry) -> None:
            await super().__call__(entry)
            if entry.left and entry.left.key == "down":
                raise StoreUnavailable("down")

    assert recovered(tmp_path, HalfDown()) == Recovery(undone=1, kept=1)
    undo = Undoer()
    assert recovered(tmp_path, undo) == Recovery(undone=1)
    assert [e.left.key for e in undo.seen if e.left] == ["down"]
    assert files(tmp_path) == []


def test_a_store_that_is_down_is_not_asked_for_every_entry(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    for i in range(100):
        journal.begin("s", "place", replace(LEFT, key=str(i)))
        journal.begin("other", "place", replace(LEFT, key=str(i)))
    abandon(journal)

    class OneDown(Undoer):
        async def __call__(self, entry: Entry) -> None:
            await super().__call__(entry)
            await asyncio.sleep(0)
            if entry.store == "s":
                raise StoreUnavailable("down")

    undo = OneDown()
    assert recovered(tmp_path, undo) == Recovery(undone=100, kept=100)
    assert len([entry for entry in undo.seen if entry.store == "s"]) <= journal_module.PARALLEL
    assert recovered(tmp_path, Undoer()) == Recovery(undone=100)


def test_what_nobody_could_undo_for_a_week_is_given_up(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("s", "place", LEFT)
    abandon(journal)
    undo = Undoer(StoreRefused("denied"))
    assert recovered(tmp_path, undo) == Recovery(kept=1)
    assert recovered(tmp_path, undo, now=1000 + 8 * 86400) == Recovery(dropped=1)
    assert files(tmp_path) == []


def test_an_expired_presigned_url_is_given_up_at_once(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path))
    journal.begin("", "presigned", replace(LEFT, abort_url="http://h/?sig"))
    abandon(journal)
    assert recovered(tmp_path, Undoer(StoreRefused("expired"))) == Recovery(dropped=1)


def test_others_may_not_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = Journal(str(tmp_path))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o700
    (file,) = (tmp_path / "journal").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    journal.close()


def test_compaction_keeps_the_live_entries_and_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_LINES", 10)
    journal = Journal(str(tmp_path))
    journal.begin("s", "place", LEFT)
    (file,) = (tmp_path / "journal").iterdir()
    for i in range(1000):
        journal.end(journal.begin("s", "place", replace(LEFT, key=str(i))))
    assert len(file.read_bytes().rstrip(b"\0")) < 10_000
    assert file.stat().st_size < 2 * journal_module.ROOM_STEP
    assert recovered(tmp_path, Undoer()) == Recovery()
    abandon(journal)
    undo = Undoer()
    assert recovered(tmp_path, undo) == Recovery(undone=1)
    assert undo.seen[0].left == LEFT
    assert files(tmp_path) == []


def test_without_a_directory_it_lives_in_memory() -> None:
    journal = Journal()
    entry = journal.begin("s", "place", LEFT)
    assert [e.left for e in journal.live] == [LEFT]
    journal.end(entry)
    journal.end(entry)
    assert journal.live == ()
    journal.close()


def test_a_directory_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        Journal(str(tmp_path))


KEYS = st.text(min_size=1, max_size=8)


@examples(30)
@given(st.lists(st.tuples(KEYS, st.sampled_from(Stage), st.booleans()), max_size=8), st.data())
def test_a_torn_file_gives_every_whole_line(
    writes: list[tuple[str, Stage, bool]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as state:
        journal = Journal(state)
        (file,) = (Path(state) / "journal").iterdir()
        history: list[tuple[int, tuple[Entry, ...]]] = [(0, ())]

        def written() -> bytes:
            return file.read_bytes().rstrip(b"\0")

        def note() -> None:
            history.append((len(written()) - 1, journal.live))  # but for the newline

        for key, stage, ends in writes:
            entry = journal.begin("s", "p", replace(LEFT, key=key, stage=stage))
            note()
            if ends:
                journal.end(entry)
                note()
        content = written()
        journal.close()
    at = data.draw(st.integers(0, len(content)))
    expected = [live for size, live in history if size <= at][-1]
    assert fold(content[:at]) == list(expected)
    # a line cut off by a full disk does not spoil the next one
    assert fold(content[:at] + content) == list(history[-1][1])


CRASH = """
import sys, time
from fastproxy.storage.contract import Leftover, Stage
from fastproxy.storage.journal import Journal
journal = Journal(sys.argv[1])
for i in range(50):
    journal.begin("s", "place", Leftover(str(i), Stage.INTENT, 1000.0))
print("ready", flush=True)
time.sleep(60)
"""


def test_a_killed_process_leaves_its_entries_to_the_next(tmp_path: Path) -> None:
    with child.python(CRASH, str(tmp_path)) as (_, said):
        assert said.readline() == b"ready\n"
        assert recovered(tmp_path, Undoer()) == Recovery()
    undo = Undoer()
    assert recovered(tmp_path, undo) == Recovery(undone=50)
    assert [e.left.key for e in undo.seen if e.left] == [str(i) for i in range(50)]


@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_has_begun_has_room_for_all_it_may_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_compacted: bool
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_LINES", 10)
    monkeypatch.setattr(journal_module, "ROOM_STEP", 1)
    journal = Journal(str(tmp_path))
    live = [journal.begin("s", "place", replace(LEFT, key=f"key {i}" * 9)) for i in range(30)]
    (file,) = (tmp_path / "journal").iterdir()
    first = file.stat().st_ino
    while is_compacted and file.stat().st_ino == first:
        journal.end(journal.begin("s", "place", LEFT))
    fill(monkeypatch)
    for entry in live:
        for stage in (*Stage,)[1:]:
            known = replace(journal.left(entry), stage=stage, upload_id="u" * 200, etag="e" * 40)
            journal.update(entry, known)
    assert len(journal.live) == len(live)
    for entry in live:
        journal.end(entry)
    assert fold(file.read_bytes()) == []
    journal.close()
