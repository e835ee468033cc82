import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.observe import access_log, sinks
from fastproxy.observe.access_log import (
    FLUSH_BYTES,
    MAX_PENDING_BYTES,
    AccessLog,
    RequestRecord,
    begin_record,
    encode_json,
)
from fastproxy.observe.metrics import Board, Cell


def dropped() -> Cell:
    return Board((), 1, "0").worker(0).cell("fastproxy_access_log_dropped_total")


def record(target: bytes = b"/a/b") -> RequestRecord:
    return begin_record("id-1", "192.0.2.1", b"GET", target, b"example.com")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_line_has_all_fields_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        log = AccessLog(str(path), dropped())
        one = record(b"/a?token=hush")
        one.status, one.duration_s, one.route = 200, 0.1234567890123, "api"
        log.write(one)
        log.close()

    asyncio.run(main())
    (line,) = lines(path)
    assert list(line) == list(RequestRecord.__struct_fields__)
    assert line["path"] == "/a"
    assert line["duration_s"] == 0.123456
    assert line["time"].endswith("Z")
    assert "hush" not in path.read_text()


def test_lines_that_waited_elsewhere_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    waiting = [b'{"path":"first"}\n{"path":"second"}\n', b'{"path":"fourth"}\n', b""]

    async def main() -> None:
        log = AccessLog(str(path), dropped())
        log.sources.append(lambda: waiting.pop(0))
        log.write(record(b"third"))
        log.close()

    asyncio.run(main())
    assert [line["path"] for line in lines(path)] == ["first", "second", "third", "fourth"]


@given(st.binary(), st.binary(), st.binary())
def test_whatever_a_client_sends_is_one_line_of_json(
    method: bytes, target: bytes, host: bytes
) -> None:
    text = encode_json(begin_record("id", "::1", method, target, host))
    assert b"\n" not in text
    assert not any(byte < 0x20 for byte in text)
    line = json.loads(text)
    assert line["path"] == target.partition(b"?")[0].decode("utf-8", "backslashreplace")


def test_lines_appear_a_moment_later_without_more_traffic(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        log = AccessLog(str(path), dropped())
        log.write(record())
        assert path.read_bytes() == b""
        await until(path.read_bytes)
        log.close()

    asyncio.run(main())
    assert len(lines(path)) == 1


def test_a_full_buffer_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        log = AccessLog(str(path), dropped())
        while path.stat().st_size == 0:
            log.write(record())
        assert path.stat().st_size >= FLUSH_BYTES
        log.close()

    asyncio.run(main())


def test_off_means_off(tmp_path: Path) -> None:
    log = AccessLog("off", dropped())
    assert not log.enabled
    log.write(record())
    log.reopen()
    log.close()


def test_reopen_follows_a_rotation_and_loses_nothing(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"

    async def main() -> None:
        log = AccessLog(str(path), dropped())
        log.write(record(b"/first"))
        path.rename(rotated)
        log.reopen()
        log.write(record(b"/second"))
        log.close()

    asyncio.run(main())
    assert [line["path"] for line in lines(rotated)] == ["/first"]
    assert [line["path"] for line in lines(path)] == ["/second"]


def test_reopen_keeps_the_old_file_when_there_can_be_no_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()

    async def main() -> None:
        log = AccessLog(str(directory / "log"), dropped())
        directory.rename(tmp_path / "moved")
        with pytest.raises(OSError, match="logs"):
            log.reopen()
        log.write(record())
        log.close()

    asyncio.run(main())
    assert len(lines(tmp_path / "moved" / "log")) == 1


class Reader:
    """The far end of a pipe or socket that is the standard output of the log."""

    def __init__(self, kind: str) -> None:
        if kind == "pipe":
            self.fd, self.stdout = os.pipe()
        else:
            near, far = socket.socketpair()
            self.fd, self.stdout = far.detach(), near.detach()
        os.set_blocking(self.fd, False)

    def read(self) -> bytes:
        data = b""
        try:
            while chunk := os.read(self.fd, 1 << 20):
                data += chunk
        except BlockingIOError:
            pass
        return data

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.stdout)


@pytest.fixture(params=["pipe", "socket"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Reader(request.param)
    monkeypatch.setattr(access_log, "STDOUT", made.stdout)
    yield made
    made.close()


def test_a_stuck_reader_never_blocks_and_what_is_too_much_is_counted(reader: Reader) -> None:
    lost = dropped()
    received = b""
    written = 0

    async def main() -> None:
        nonlocal received, written
        log = AccessLog("-", lost)
        while lost.value == 0:
            log.write(record(b"/%d" % written))
            written += 1
        taken = reader.read()
        log.flush()
        while more := reader.read():  # it goes on where it stood
            taken += more
            log.flush()
        log.close()
        received = taken

    asyncio.run(main())
    paths = [json.loads(line)["path"] for line in received.splitlines()]
    assert len(received) > MAX_PENDING_BYTES
    assert paths == [f"/{n}" for n in range(written - int(lost.value))]
    assert os.get_blocking(reader.stdout)  # it is not only ours


def test_lines_longer_than_a_pipe_takes_at_once_stay_whole(reader: Reader) -> None:
    sent = [b"/" + b"x" * size for size in (100, 5000, 100, 20000, 4096, 70000)]
    received = b""

    async def main() -> None:
        nonlocal received
        log = AccessLog("-", dropped())
        for target in sent:
            log.write(record(target))
        log.flush()
        while more := reader.read():
            received += more
            log.flush()
        log.close()

    asyncio.run(main())
    assert [json.loads(line)["path"].encode() for line in received.splitlines()] == sent


def test_a_reader_that_is_gone_costs_lines_and_nothing_else() -> None:
    lost = dropped()

    async def main(target: str) -> None:
        log = AccessLog(target, lost)
        for _ in range(3):
            log.write(record())
        log.flush()
        log.close()

    near, far = os.pipe()
    os.close(near)
    asyncio.run(main(f"/proc/self/fd/{far}"))
    os.close(far)
    assert lost.value == 3


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    lost = dropped()

    async def main() -> None:
        log = AccessLog("/dev/full", lost)
        log.write(record())
        log.close()

    asyncio.run(main())
    assert lost.value == 1


def test_files_are_not_for_everybody(tmp_path: Path) -> None:
    sink = sinks.open_path(str(tmp_path / "log"))
    sink.close()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0
