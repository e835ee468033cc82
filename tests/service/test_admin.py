import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastproxy.observe.metrics import Board
from fastproxy.service.admin import HEAD_BYTES, MAX_CONNECTIONS, is_named, respond
from tests.service.running import answer, ask, eventually, running


def board(**workers: int) -> Board:
    made = Board(["_none"], 1, "0")
    for state, count in workers.items():
        made.master.cell("fastproxy_workers", state).set(count)
    return made


def test_ready_is_who_has_one_ready_worker() -> None:
    assert respond(b"GET", b"/readyz", [board(ready=1, dead=1)])[0] == 200
    assert respond(b"GET", b"/readyz", [board(starting=2)])[0] == 503


def test_unready_says_why() -> None:
    for states, reason in (({"draining": 2}, "draining"), ({"dead": 2}, "no worker is ready")):
        body = json.loads(respond(b"GET", b"/readyz", [board(**states)])[2])
        assert body["ready"] is False
        assert body["reason"] == reason


def test_an_older_generation_does_not_make_us_ready() -> None:
    assert respond(b"GET", b"/readyz", [board(starting=1), board(ready=1)])[0] == 503


def test_only_known_paths_and_methods() -> None:
    assert respond(b"GET", b"/", [board()])[0] == 404
    assert respond(b"POST", b"/healthz", [board()])[0] == 405
    assert respond(b"GET", b"/healthz?verbose", [board()])[0] == 200


def test_metrics_are_added_up_over_workers(tmp_path: Path) -> None:
    with running(tmp_path, workers=2) as master:
        pids = [master.reply().pid]
        while len(set(pids)) < 2:
            pids.append(master.reply().pid)
        status, text = master.admin_get("/metrics")
        families = {family.name: family for family in text_string_to_metric_families(text)}
        (sample,) = families["fastproxy_requests"].samples
        assert status == 200
        assert sample.value == len(pids)


def test_it_answers_while_the_worker_is_busy_for_ever(tmp_path: Path) -> None:
    with running(tmp_path) as master, ask(master.main, "/spin"):
        assert master.admin_get("/healthz")[0] == 200
        assert master.admin_get("/readyz")[0] == 200


def test_a_large_head_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        sock = ask(master.admin, "/" + "x" * (HEAD_BYTES + 1000))
        assert answer(sock)[0] == 431


def test_a_silent_client_does_not_hold_up_others(tmp_path: Path) -> None:
    with running(tmp_path) as master, socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(master.admin))
        assert master.admin_get("/healthz")[0] == 200


def test_of_many_silent_clients_the_oldest_gives_way(tmp_path: Path) -> None:
    with running(tmp_path) as master, contextlib.ExitStack() as stack:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
        for sock in silent:
            stack.enter_context(sock)
            sock.connect(str(master.admin))
        assert master.admin_get("/healthz")[0] == 200
        silent[0].settimeout(20)
        assert silent[0].recv(1) == b""
        silent[1].sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert answer(silent[1])[0] == 200


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [
        *((host, True) for host in ("127.0.0.1:9100", "[::1]:9100", "[::1]", "localhost:9100")),
        *((host, True) for host in ("fastproxy", " Web1.Example.com:9100 ", "web1.example.com")),
        *((host, False) for host in ("rebound.example", "1.2.3.4.example:9100", "127.0.0.1.")),
        *((host, False) for host in ("web1.example.com.", "localhost.example:80", "a.b:x")),
    ],
)
def test_a_strangers_name_is_none_of_ours(host: str, is_safe: bool) -> None:
    head = f"GET /metrics HTTP/1.1\r\nHost:{host}\r\n\r\n".encode()
    assert is_named(head, frozenset({"web1.example.com"})) is is_safe


def test_monitors_that_name_no_host_are_answered() -> None:
    assert is_named(b"GET /healthz HTTP/1.0\r\n\r\n", frozenset())


def test_on_tcp_other_names_are_misdirected(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        place = found.getsockname()
    server = {"admin_listen": f"127.0.0.1:{place[1]}", "admin_hosts": ["Web1.example.com"]}
    with running(tmp_path, wait=False, **server) as master:
        eventually(master.reply, "ready")
        for host, status in (("rebound.example", 421), ("web1.example.com:9100", 200)):
            sock = eventually(lambda: socket.create_connection(place, 20), "listens")
            sock.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer(sock)[0] == status


def test_a_killed_admin_process_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        (admin,) = set(master.children()) - {master.reply().pid}
        os.kill(admin, signal.SIGKILL)
        assert eventually(lambda: master.admin_get("/healthz"), "answers again")[0] == 200


def test_a_drain_of_the_whole_group_is_still_watched(tmp_path: Path) -> None:
    release = tmp_path / "release"
    with running(tmp_path) as master:
        worker = master.reply().pid
        held = ask(master.main, f"/hold?{release}")
        master.reply()  # the worker has accepted the first, for it accepts in order
        for pid in (*master.children(), master.pid):
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: master.admin_get("/readyz")[0] == 503, "not ready")
        assert worker in master.children()
        release.touch()
        assert answer(held)[0] == 200
        assert master.wait() == 0
        assert not master.logged("the admin process died")


def test_without_an_address_there_is_no_admin_process(tmp_path: Path) -> None:
    with running(tmp_path, wait=False, admin_listen="") as master:
        eventually(master.reply, "ready")
        assert len(master.children()) == 1
        assert not master.admin.exists()


def test_a_reload_can_turn_it_on_and_off(tmp_path: Path) -> None:
    with running(tmp_path) as master:
        master.server["admin_listen"] = ""
        master.configure()
        master.send(signal.SIGHUP)
        eventually(lambda: not master.admin.exists(), "off")
        master.server["admin_listen"] = f"unix:{master.admin}"
        master.configure()
        master.send(signal.SIGHUP)
        assert eventually(lambda: master.admin_get("/healthz"), "on again")[0] == 200
