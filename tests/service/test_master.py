import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from tests.service.running import (
    Running,
    answer,
    ask,
    children,
    eventually,
    is_alive,
    running,
)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        first = master.reply().pid
        os.kill(first, signal.SIGKILL)
        second = eventually(lambda: master.reply().pid, "answered again")
        assert second != first
        assert master.logged("SIGKILL")
        assert master.metric("fastproxy_worker_deaths_total") == 1


def test_a_child_that_it_never_had_is_reaped_and_no_concern(tmp_path: Path) -> None:
    """As process 1 of a container it gets those whose parents have ended."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with running(tmp_path, stranger=f"read _ <{gate}") as master:
        worker = master.reply().pid
        kin = f"/proc/{master.pid}/task/{master.pid}/children"
        assert len(Path(kin).read_text().split()) == 3
        gate.write_text("go\n")
        eventually(lambda: len(Path(kin).read_text().split()) == 2, "reaped")
        assert master.reply().pid == worker
        assert not master.logged("died")
        master.reload()  # it is still there


def test_a_worker_that_keeps_dying_is_tried_again_ever_later(tmp_path: Path) -> None:
    master = Running(tmp_path)
    master.configure(greeting="crash")
    with running(tmp_path, wait=False) as master:
        eventually(lambda: master.errors.read_text().count("worker died") >= 5, "five deaths")
        assert master.admin_get("/healthz")[0] == 200
        assert master.admin_get("/readyz")[0] == 503
        master.send(signal.SIGTERM)
        assert master.wait() == 0


def test_a_start_that_cannot_work_fails_at_once(tmp_path: Path) -> None:
    Running(tmp_path).configure(greeting="fail")
    with running(tmp_path, wait=False) as master:
        assert master.wait() == 1
        assert master.logged("told to fail")
        assert not master.main.exists()


def test_sigterm_lets_a_running_request_finish(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with running(tmp_path) as master:
        held = ask(master.main, f"/hold?{release}")
        master.reply()  # the worker has accepted the first, for it accepts in order
        master.send(signal.SIGTERM)
        eventually(lambda: master.admin_get("/readyz")[0] == 503, "not ready")
        master.send(signal.SIGTERM)  # means nothing more
        release.touch()
        assert answer(held)[0] == 200
        assert master.wait() == 0
        assert not master.main.exists()
        assert not master.admin.exists()


def test_a_worker_that_does_not_drain_is_killed_in_the_end(tmp_path: Path) -> None:
    with running(tmp_path, drain=0.1, upload_drain=0.1) as master:
        with ask(master.main, "/spin"):
            master.send(signal.SIGTERM)
            assert master.wait(15) == 0
        assert master.logged("SIGKILL")


def test_sigint_stops_at_once(tmp_path: Path) -> None:
    with (
        running(tmp_path, drain=600, upload_drain=600) as master,
        ask(master.main, f"/hold?{tmp_path / 'never'}"),
    ):
        master.reply()
        master.send(signal.SIGINT)
        assert master.wait(10) == 0


def test_sigint_ends_a_drain(tmp_path: Path) -> None:
    with (
        running(tmp_path, drain=600, upload_drain=600) as master,
        ask(master.main, f"/hold?{tmp_path / 'never'}"),
    ):
        master.reply()
        master.send(signal.SIGTERM)
        eventually(lambda: master.admin_get("/readyz")[0] == 503, "draining")
        master.send(signal.SIGINT)
        assert master.wait(10) == 0


def test_signals_for_the_whole_group_do_not_kill_workers(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        worker = master.reply().pid
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            os.kill(worker, number)
            assert master.reply().pid == worker


def test_workers_end_when_the_master_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as master:
        family = master.children()
        assert len(family) == 3  # two workers, one for the admin listener
        master.send(signal.SIGKILL)
        master.wait()
        eventually(lambda: not any(map(is_alive, family)), "all ended")


def test_a_worker_that_a_thread_holds_back_ends_without_its_master_too(tmp_path: Path) -> None:
    with running(tmp_path, drain=0.1, upload_drain=0.1) as master:
        worker = master.reply().pid
        with ask(master.main, "/thread"):
            # Python waits for its threads: only the kernel can end such a process.
            eventually(lambda: len(os.listdir(f"/proc/{worker}/task")) > 1, "its thread")
            master.send(signal.SIGKILL)
            master.wait()
            eventually(lambda: not is_alive(worker), "the worker's end")


def test_the_next_master_takes_over_the_socket_that_a_killed_one_left(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        family = master.children()
        master.send(signal.SIGKILL)
        master.wait()
        eventually(lambda: not any(map(is_alive, family)), "all ended")
        assert master.main.exists()
        with running(tmp_path) as successor:
            assert successor.reply().generation == 1


def test_a_second_master_on_the_same_socket_does_not_start(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        second = Running(tmp_path)
        second.start()
        assert second.wait() == 1
        assert master.logged("another process listens there")
        assert master.reply().generation == 1


def test_sigusr1_opens_the_logs_anew(tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    with running(tmp_path) as master:
        master.log["access"] = str(access)
        master.configure()
        master.reload()
        master.reply("/?private_token=hush")
        eventually(access.read_text, "a line")
        assert "hush" not in access.read_text()
        access.rename(tmp_path / "access.log.1")
        master.errors.rename(tmp_path / "error.log.1")
        master.send(signal.SIGUSR1)
        eventually(access.exists, "a new access log")
        eventually(master.errors.exists, "a new error log")
        master.reply()
        eventually(access.read_text, "a line in the new log")


def test_all_descriptors_the_system_allows_may_be_used(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with running(tmp_path) as master:
            worker = master.reply().pid
            assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_systemd_hears_of_start_reload_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        master = Running(tmp_path)
        master.start(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        try:
            assert systemd.recv(1024) == b"READY=1"
            master.send(signal.SIGHUP)
            assert systemd.recv(1024).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert systemd.recv(1024) == b"READY=1"
            master.send(signal.SIGTERM)
            assert systemd.recv(1024).startswith(b"STOPPING=1\n")
            assert master.wait() == 0
        finally:
            for pid in [*children(master.pid), master.pid] if master.process else []:
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)


pytestmark = pytest.mark.timeout(60)
