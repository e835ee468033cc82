"""Whatever ends a request, no program of git's is left, and nothing of it in the repository."""

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flow.git_site import FLUSH, Forge, begin_fetch, forged, line, wanting
from tests.flow.upload_site import Client
from tests.service.running import children, is_alive
from tests.support.descriptors import descriptors
from tests.support.git import commit, git, noise
from tests.support.waiting import eventually

BIG = 8 << 20


def grandchildren(forge: Forge) -> list[int]:
    """git's programs, and those that they run."""
    first = forge.processes()
    return first + [pid for one in first for pid in children(one)]


@contextmanager
def fetching(forge: Forge) -> Iterator[tuple[Client, list[int]]]:
    """In the middle of a large answer, with the programs that give it."""
    with begin_fetch(forge, wanting(forge)) as client:
        assert client.sock.recv(100).startswith(b"HTTP/1.1 200 OK")
        programs = eventually(lambda: grandchildren(forge), "git runs")
        yield client, programs


def all_gone(programs: list[int]) -> Callable[[], bool]:
    return lambda: not any(map(is_alive, programs))


def of_programs(forge: Forge) -> int:
    """Descriptors that belong to programs."""
    links = [link for _, link in descriptors(forge.site.workers[0])]
    return sum(link.startswith("pipe:") or "pidfd" in link for link in links)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    git_settings = {"config": {"receive.unpackLimit": "1", "pack.compression": "0"}}
    with forged(tmp_path_factory.mktemp("forge"), git=git_settings) as running:
        commit(running.tree, "big", noise(BIG))
        git("push", "--quiet", running.bare, "main", cwd=running.tree)
        yield running


def test_a_client_that_leaves_in_the_middle_of_an_answer_takes_git_with_it(forge: Forge) -> None:
    eventually(lambda: not forge.processes(), "quiet")
    before = of_programs(forge)
    with fetching(forge) as (client, programs):
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sock.close()
        eventually(all_gone(programs), "no program")
    eventually(lambda: of_programs(forge) == before, "no descriptor")
    worker = forge.site.workers[0]
    listed = Path(f"/proc/{worker}/task/{worker}/children")
    eventually(lambda: not listed.read_text(), "no zombie")


def test_a_client_that_stops_in_the_middle_of_a_push_leaves_nothing(forge: Forge) -> None:
    pushed = commit(forge.tree, "pushed", noise(1 << 20, 2))
    pack = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "--quiet", "--compression=0"],
        input=b"main\n",
        cwd=forge.tree,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    body = line(f"{'0' * 40} {pushed} refs/heads/x\0report-status") + FLUSH + pack
    with forge.site.client() as client:
        fields = {
            "Content-Type": "application/x-git-receive-pack-request",
            "Content-Length": str(len(body)),
            "Authorization": "Basic YW5uOnMzY3IzdA==",
        }
        client.head("POST", "/git/hello.git/git-receive-pack", fields)
        client.send(body[: len(body) // 2])
        eventually(lambda: half_pushed(forge), "a half pack")
        programs = grandchildren(forge)
        assert len(programs) >= 2
    eventually(all_gone(programs), "no program")
    assert not half_pushed(forge)


def half_pushed(forge: Forge) -> list[Path]:
    """Temporary files of the repository."""
    return [path for path in (forge.bare / "objects").rglob("*") if "tmp_" in path.name]


def test_git_is_ended_when_its_worker_is_killed(forge: Forge) -> None:
    with fetching(forge) as (_, programs):
        os.kill(forge.site.workers[0], signal.SIGKILL)
        eventually(all_gone(programs), "no program")
    eventually(lambda: not children(forge.site.pid)[1:] or forge.site.workers, "a new worker")
    git("ls-remote", forge.url())


# Once only: its client tries again when the connection breaks.
HOOK = """#!/bin/sh
[ ! -e {told} ] || exit 1
trap '' TERM
exec <&- >&- 2>&-
sleep 600 &
echo $$ > {told}
wait
"""


def test_a_hook_that_does_not_listen_is_ended_when_its_worker_is_killed(tmp_path: Path) -> None:
    hooks, told = tmp_path / "hooks", tmp_path / "told"
    hooks.mkdir()
    (hooks / "pre-receive").write_text(HOOK.format(told=told))
    (hooks / "pre-receive").chmod(0o755)
    with forged(tmp_path / "forge", git={"hooks": str(hooks)}) as forge:
        commit(forge.tree, "more", b"more")
        pushing = threading.Thread(
            target=git, args=("push", forge.ann, "main"), kwargs={"cwd": forge.tree, "check": False}
        )
        pushing.start()
        hook = int(eventually(lambda: told.exists() and told.read_text(), "the hook runs"))
        programs = [*grandchildren(forge), hook, *children(hook)]
        assert len(programs) >= 4
        os.kill(forge.site.workers[0], signal.SIGKILL)
        eventually(all_gone(programs), "no program")
        pushing.join(20)


def test_git_has_the_time_of_a_drain_and_is_ended_after_it(tmp_path: Path) -> None:
    with forged(tmp_path, server={"upload_drain": "1s", "drain": "1s"}) as forge:
        commit(forge.tree, "big", noise(BIG))
        git("push", "--quiet", forge.bare, "main", cwd=forge.tree)
        with fetching(forge) as (_, programs):
            os.kill(forge.site.pid, signal.SIGTERM)
            assert forge.site.process is not None
            assert forge.site.process.wait(15) == 0
            assert all_gone(programs)()
