import os
import signal
import threading
from pathlib import Path

import pytest

from fastproxy.service.master import MAX_RETIRING
from tests.service.running import (
    Running,
    answer,
    ask,
    eventually,
    is_alive,
    open_fds,
    running,
)

pytestmark = pytest.mark.timeout(90)


def test_a_reload_brings_new_workers_with_the_new_configuration(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        old = master.reply()
        master.configure(greeting="new")
        master.reload()
        new = eventually(lambda: [r for r in [master.reply()] if r.generation == 2], "new")[0]
        assert new.greeting == "new"
        eventually(lambda: not is_alive(old.pid), "the old worker ended")


@pytest.mark.parametrize("broken", ["{", '{"server": {"listen": ["unix:/nonexistent/dir/s"]}}'])
def test_a_reload_that_cannot_be_loaded_or_bound_keeps_the_old(tmp_path: Path, broken: str) -> None:
    with running(tmp_path) as master:
        old = master.reply().pid
        master.conf.write_text(broken)
        master.reload()
        assert master.metric('fastproxy_config_reloads_total{result="failed"}') == 1
        assert master.logged("the old configuration stays")
        assert master.reply().pid == old
        master.configure(greeting="mended")
        master.reload()
        eventually(lambda: master.reply().greeting == "mended", "mended")


@pytest.mark.parametrize("greeting", ["fail", "crash"])
def test_a_reload_whose_workers_die_keeps_the_old(tmp_path: Path, greeting: str) -> None:
    with running(tmp_path, workers=2) as master:
        master.configure(greeting=greeting)
        master.reload()
        assert master.metric('fastproxy_config_reloads_total{result="failed"}') == 1
        assert master.reply().generation == 1
        eventually(lambda: len(master.children()) == 3, "only the old workers are left")


class Asking(threading.Thread):
    """Asks without pause until told to end; keeps what went wrong."""

    def __init__(self, master: Running) -> None:
        super().__init__()
        self._master = master
        self._ended = threading.Event()
        self.generations: set[int] = set()
        self.failures: list[Exception] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self.generations.add(self._master.reply().generation)
            except Exception as error:
                self.failures.append(error)

    def end(self) -> None:
        self._ended.set()
        self.join()


def test_no_connection_fails_while_generations_change(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as master:
        clients = [Asking(master) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for _ in range(5):
                master.reload()
        finally:
            for client in clients:
                client.end()
        assert [failure for client in clients for failure in client.failures] == []
        assert len(set().union(*(client.generations for client in clients))) >= 3


def test_an_old_generation_finishes_what_it_began(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with running(tmp_path) as master:
        old = master.reply().pid
        held = ask(master.main, f"/hold?{release}")
        master.reply()
        master.reload()
        assert is_alive(old)
        assert master.reply().generation == 2
        release.touch()
        assert answer(held)[1].startswith(f"{old} 1 ")
        eventually(lambda: not is_alive(old), "the old worker ended")


def test_listeners_come_and_go_with_the_configuration(tmp_path: Path) -> None:
    other = tmp_path / "other.sock"
    with running(tmp_path) as master:
        master.server["listen"] = [f"unix:{master.main}", f"unix:{other}"]
        master.configure()
        master.reload()
        assert answer(ask(other, "/"))[0] == 200
        master.server["listen"] = [f"unix:{other}"]
        master.configure()
        master.reload()
        eventually(lambda: not master.main.exists(), "the first socket is gone")
        assert answer(ask(other, "/"))[0] == 200


def test_a_change_of_the_number_of_workers_takes_effect(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        master.server["workers"] = 3
        master.configure()
        master.reload()
        master.until_ready()
        eventually(lambda: len(master.children()) == 4, "three workers and the admin process")


def test_counters_survive_reloads_and_lost_routes_do_not_come_back(tmp_path: Path) -> None:
    series = 'fastproxy_requests_total{route="fixed",method="GET",code="200"}'
    with running(tmp_path, workers=2) as master:
        for _ in range(20):
            master.reply()
        master.reload()
        assert master.metric(series) == 20
        master.reply()
        eventually(lambda: len(master.children()) == 3, "the old generation ended")
        master.reload()
        assert master.metric(series) == 21
        assert master.metric("fastproxy_build_info") == 1
        eventually(lambda: len(master.children()) == 3, "the old generation ended")
        master.configure(route="another")
        master.reload()
        eventually(lambda: len(master.children()) == 3, "the old generation ended")
        master.reload()
        assert master.metric(series) == 0
        assert master.metric('fastproxy_config_reloads_total{result="ok"}') == 4


def test_a_reload_asked_for_during_a_reload_is_not_lost(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        for number in range(5):
            master.configure(greeting=f"number-{number}")
            master.send(signal.SIGHUP)
        eventually(lambda: master.reply().greeting == "number-4", "the last one won")


def test_thirty_reloads_leave_no_descriptor_behind(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        master.reload()
        eventually(lambda: len(master.children()) == 2, "the old generation ended")
        before = open_fds(master.pid)
        worker_before = open_fds(master.reply().pid)
        for _ in range(30):
            master.reload()
        eventually(lambda: len(master.children()) == 2, "all old generations ended")
        worker = eventually(lambda: [r for r in [master.reply()] if r.generation == 32], "new")
        eventually(lambda: open_fds(master.pid) == before, "none more in the master")
        eventually(lambda: open_fds(worker[0].pid) == worker_before, "none more in a worker")
        assert len(os.listdir(f"/proc/{master.pid}/task")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_during_a_reload_ends_both_generations(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, drain=600, upload_drain=600) as master:
        master.configure(greeting="hang")
        master.send(signal.SIGHUP)
        eventually(lambda: len(master.children()) == 3, "a new worker")
        master.send(number)
        assert master.wait(15) == 0


def test_only_so_many_generations_may_drain(tmp_path: Path) -> None:
    with running(tmp_path, drain=600, upload_drain=600) as master:
        held = []
        try:
            for _ in range(MAX_RETIRING + 1):
                held.append(ask(master.main, f"/hold?{tmp_path / 'never'}"))
                master.reply()
                master.reload()
            assert held[0].recv(1) == b""  # the oldest was stopped ...
            assert master.logged("too many generations drain")
            held[1].setblocking(False)
            with pytest.raises(BlockingIOError):  # ... and no other
                held[1].recv(1)
        finally:
            for sock in held:
                sock.close()
