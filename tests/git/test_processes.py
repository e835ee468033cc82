"""Programs run in their turn, at their reader's pace, and end for certain."""

import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fastproxy.errors import BadBody, GitBusy, GitFailed
from fastproxy.git import process as process_room
from fastproxy.git.command import Command
from fastproxy.git.conversation import answers
from fastproxy.git.held import Disk, Held
from fastproxy.git.process import GitProcess
from fastproxy.git.processes import Processes
from tests.support.descriptors import descriptors

COUNTING = "import sys; sys.stdout.buffer.write(b'x' * 50_000_000)"
ECHO = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
STUBBORN = """import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(600)"""
PATIENT = "import sys, time; sys.stdin.read(); open('ended', 'w').close()"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def program(directory: int, text: str, *, is_writing: bool = False) -> Command:
    """Python in place of git."""
    return Command(("-c", text), directory, "/", is_writing=is_writing)


def bench(at_once: int = 4, queue: int = 4, queue_timeout_s: float = 20) -> Processes:
    return Processes(sys.executable, at_once, queue, queue_timeout_s)


def played(play: Callable[[], Awaitable[None]]) -> None:
    """Run it; no descriptor is left."""
    before = descriptors()

    async def with_deadline() -> None:
        async with asyncio.timeout(20):
            await play()

    asyncio.run(with_deadline())
    assert descriptors() <= before


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is not an event
        await asyncio.sleep(0.005)


async def said(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def whole(process: GitProcess, *question: bytes) -> bytes:
    pieces = answers(process, said(*question), Held(1 << 30, Disk()))
    return b"".join([piece async for piece in pieces])


def waiting_in(process: GitProcess) -> int:
    """Bytes that it has written and nobody has read."""
    count = bytearray(4)
    fcntl.ioctl(process.outlet._file.fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def test_a_program_answers_what_it_is_told(directory: int) -> None:
    async def play() -> None:
        async with await bench().start(program(directory, ECHO)) as process:
            big = os.urandom(3_000_000)
            assert await whole(process, b"a", big, b"z") == b"a" + big + b"z"
            assert await process.ended() == 0

    played(play)


def test_a_program_whose_answer_nobody_reads_waits(directory: int) -> None:
    async def play() -> None:
        async with await bench().start(program(directory, COUNTING)) as process:
            await until(lambda: waiting_in(process) == 65536)  # all that a pipe holds
            assert len(await process.outlet.read()) == 65536
        assert await process.ended() == -15

    played(play)


def test_a_program_that_wants_no_more_does_not_break_the_question(directory: int) -> None:
    async def play() -> None:
        async with await bench().start(program(directory, "print('enough')")) as process:
            assert await whole(process, *[bytes(100_000)] * 30) == b"enough\n"
            assert await process.ended() == 0

    played(play)


def test_a_question_that_breaks_ends_the_program(directory: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"begun"
        raise BadBody

    async def play() -> None:
        async with await bench().start(program(directory, ECHO)) as process:
            with pytest.raises(BadBody):
                async for _ in answers(process, broken(), Held(1 << 30, Disk())):
                    pass
            assert await process.ended() == 0

    played(play)


def test_what_it_complained_of_is_kept_within_bounds(directory: int) -> None:
    async def play() -> None:
        text = "import sys; sys.stderr.write('x' * 1_000_000 + '\\nthe end\\n'); sys.exit(3)"
        async with await bench().start(program(directory, text)) as process:
            assert await whole(process) == b""
            assert await process.ended() == 3
            assert process.complaints.text.endswith("x / the end")
            assert len(process.complaints.text) < 5000

    played(play)


def test_what_does_not_listen_is_killed(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_room, "GRACE_S", 0.05)

    async def play() -> None:
        async with await bench().start(program(directory, STUBBORN)) as process:
            assert await process.outlet.read() == b"up\n"
        assert await process.ended() == -9

    played(play)


def test_what_writes_may_end_by_itself(directory: int, tmp_path: Path) -> None:
    async def play() -> None:
        processes = bench()
        async with await processes.start(program(directory, PATIENT, is_writing=True)) as process:
            pass
        assert await process.ended() == 0
        assert (tmp_path / "ended").exists()
        assert processes.running == 0

    played(play)


def test_at_the_end_all_are_ended(directory: int) -> None:
    async def play() -> None:
        processes = bench()
        texts = (STUBBORN, PATIENT)
        started = [
            await processes.start(program(directory, text, is_writing=True)) for text in texts
        ]
        assert await started[0].outlet.read() == b"up\n"
        await processes.stop()
        assert [process.exit.result() for process in started] == [-9, -15]

    played(play)


def test_what_cannot_be_run_gives_its_turn_back(directory: int) -> None:
    async def play() -> None:
        absent = Processes("/nowhere/git", 1, 0, 1)
        for _ in range(2):
            with pytest.raises(GitFailed, match="/nowhere/git"):
                await absent.start(program(directory, ""))

    played(play)


def test_turns_are_given_in_order_and_not_lost(directory: int) -> None:
    async def play() -> None:
        processes = bench(1, 3)
        first = await processes.start(program(directory, ECHO))
        order: list[str] = []

        async def take(name: str) -> None:
            async with await processes.start(program(directory, "")) as process:
                order.append(name)
                await process.ended()

        second, third, fourth = (asyncio.ensure_future(take(name)) for name in "234")
        await until(lambda: processes.waiting == 3)
        with pytest.raises(GitBusy):
            await take("5")
        third.cancel()
        await until(lambda: processes.waiting == 2)
        first.leave()
        await asyncio.gather(second, fourth)
        assert order == ["2", "4"]
        assert (processes.running, processes.waiting) == (0, 0)

    played(play)


def test_who_waits_too_long_is_refused(directory: int) -> None:
    async def play() -> None:
        processes = bench(1, 3, 0.01)
        async with await processes.start(program(directory, ECHO)) as process:
            with pytest.raises(GitBusy, match="no turn"):
                await processes.start(program(directory, ""))
        await process.ended()
        async with await processes.start(program(directory, "")) as another:
            assert await another.ended() == 0

    played(play)


def test_nothing_of_our_environment_is_passed_on(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "id")
    monkeypatch.setenv("LD_PRELOAD", "")
    command = Command(
        ("-c", "import os; print(sorted(os.environ))"),
        directory,
        "/srv/a.git",
        settings=(("a.b", "c"),),
        variables={"REMOTE_USER": "ann"},
    )
    environment = command.environment()
    count = int(environment["GIT_CONFIG_COUNT"])
    settings = {
        environment[f"GIT_CONFIG_KEY_{n}"]: environment[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(count)
    }
    assert settings["a.b"] == "c"
    assert settings["safe.directory"] == "/srv/a.git"
    assert environment["REMOTE_USER"] == "ann"
    assert not {"GIT_SSH_COMMAND", "LD_PRELOAD"} & environment.keys()

    async def play() -> None:
        async with await bench().start(command) as process:
            seen = (await whole(process)).decode()
            assert "GIT_SSH_COMMAND" not in seen
            assert "STARTED_BY_FASTPROXY" in seen
            await process.ended()

    played(play)
