"""The ways to a real Redis: TLS, users, unix sockets, sentinels; and what answers nonsense."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.flow.test_polls import KEY, World, ask, configuration, is_passed, is_unchanged
from tests.servers.redis import MASTER, RedisServer, promoted, redis_server, sentinel
from tests.support.harness import proxy
from tests.support.origin import origin
from tests.support.ports import free_port
from tests.support.tls import Authority
from tests.support.waiting import eventually

PASSWORD = "correct horse"


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD.replace(" ", "-") + "\n")
    path.chmod(0o600)
    return path


@contextmanager
def linked(redis: RedisServer, lines: str, *, is_up: bool = True) -> Iterator[World]:
    """A proxy whose [redis] has `lines` instead of the url."""
    with origin() as backend:
        text = configuration(redis, backend, "", "each", "")
        text = text.replace(f'url = "{redis.url}"\n', lines).replace(
            "[backend", 'heartbeat = "300ms"\n[backend', 1
        )
        if "[redis.sentinel]" in lines:
            table = lines[lines.index("[redis.sentinel]") :]
            text = text.replace(table, "").replace("[backend", table + "[backend", 1)
        with proxy(text) as running:
            w = World(redis, backend, running)
            if is_up:
                eventually(w.is_connected, "connected", within=30)
            yield w


def holds_and_wakes(w: World) -> None:
    with w.proxy.client() as client:
        w.redis.client.set(KEY + "t", "1")
        ask(client)
        w.waiting(1)
        w.redis.change(KEY + "t", "2")
        assert is_unchanged(client.reply())


def test_with_tls_and_a_user_that_may_do_only_what_is_needed(
    tmp_path: Path, password_file: Path
) -> None:
    authority, port = Authority(tmp_path), free_port()
    certificate = authority.issue("127.0.0.1")
    secret = password_file.read_text().strip()
    may = "+subscribe +unsubscribe +mget +ping"
    with redis_server(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)),
        *("--tls-ca-cert-file", str(authority.file)),
        user=f"polls on >{secret} ~{KEY}* &workhorse:notifications* {may}",
    ) as redis:
        lines = f'''url = "rediss://127.0.0.1:{port}/0"
ca_file = "{authority.file}"
username = "polls"
password_file = "{password_file}"
'''
        with linked(redis, lines) as w:
            holds_and_wakes(w)
            assert "polls" in {each["user"] for each in redis.client.client_list()}
        with linked(redis, f'url = "rediss://127.0.0.1:{port}/0"\n', is_up=False) as w:
            eventually(lambda: "cannot be reached" in w.proxy.said(), "whom nobody vouches for")
            assert "CERTIFICATE_VERIFY_FAILED" in w.proxy.said()


def test_by_a_unix_socket_to_another_database_with_a_password(
    tmp_path: Path, password_file: Path
) -> None:
    path, secret = tmp_path / "redis.sock", password_file.read_text().strip()
    with redis_server("--unixsocket", str(path), password=secret) as redis:
        lines = f'url = "unix://{path}?db=3"\npassword_file = "{password_file}"\n'
        with linked(redis, lines) as w:
            redis.client.select(3)
            holds_and_wakes(w)
        with linked(redis, f'url = "unix://{path}?db=3"\n', is_up=False) as w:
            eventually(lambda: "cannot be reached" in w.proxy.said(), "no password")
            assert secret not in w.proxy.said()


def sentinels(*ports: int, password_file: Path) -> str:
    addresses = json.dumps([f"127.0.0.1:{port}" for port in ports])
    return f'''url = "redis://{MASTER}/0"
password_file = "{password_file}"
[redis.sentinel]
addresses = {addresses}
password_file = "{password_file}"
'''


@pytest.mark.timeout(240)
def test_who_becomes_the_master_is_followed(password_file: Path) -> None:
    secret = password_file.read_text().strip()
    with (
        redis_server("--repl-diskless-sync-delay", "0", password=secret) as master,
        redis_server("--replicaof", "127.0.0.1", str(master.port), password=secret) as replica,
        sentinel(master, 1, secret) as watching,
        linked(
            master,
            sentinels(
                free_port(),  # nobody is there: the next one is asked
                watching.connection_pool.connection_kwargs["port"],
                password_file=password_file,
            ),
        ) as w,
        w.proxy.client() as client,
    ):
        holds_and_wakes(w)
        body = ask(client, last="2")
        w.waiting(1)
        master.stop()
        assert is_passed(client.reply(), body)
        promoted(watching, replica)
        eventually(w.is_connected, "connected to the new master", within=30)
        w.redis = replica
        holds_and_wakes(w)
        master.start()  # it comes back, becomes a replica, and is not asked
        # Sentinel asks for its role every ten seconds, and believes it when it is 8 s old.
        eventually(lambda: master.client.role()[0] == b"slave", "demoted", within=90)
        holds_and_wakes(w)
        assert w.proxy.metric("fastproxy_redis_losses_total") == 1


def test_a_master_that_hangs_while_another_is_chosen_is_left(password_file: Path) -> None:
    secret = password_file.read_text().strip()
    with (
        redis_server("--repl-diskless-sync-delay", "0", password=secret) as master,
        redis_server("--replicaof", "127.0.0.1", str(master.port), password=secret) as replica,
        sentinel(master, 1, secret) as watching,
    ):
        port = watching.connection_pool.connection_kwargs["port"]
        with linked(master, sentinels(port, password_file=password_file)) as w:
            holds_and_wakes(w)
            assert master._process is not None
            os.kill(master._process.pid, signal.SIGSTOP)
            try:
                promoted(watching, replica)
                eventually(w.is_connected, "connected to the new master", within=30)
                w.redis = replica
                holds_and_wakes(w)
            finally:
                os.kill(master._process.pid, signal.SIGCONT)


NONSENSE = [
    b"+OK\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n",
    b"*1\r\n:1\r\n",
    b":17\r\n",
    b"-ERR no\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"\xff\xfe\r\n",
]


def babble(listener: socket.socket, count: list[int]) -> None:
    """To whatever comes, each time another answer that makes no sense."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            peer.settimeout(2)
            try:
                while peer.recv(4096):
                    peer.sendall(NONSENSE[count[0] % len(NONSENSE)])
                    count[0] += 1
            except OSError:
                pass


def test_what_is_no_redis_is_left_alone_and_requests_are_passed_on() -> None:
    count = [0]
    with socket.create_server(("127.0.0.1", 0)) as listener, redis_server() as redis:
        threading.Thread(target=babble, args=(listener, count), daemon=True).start()
        port = listener.getsockname()[1]
        lines = f'url = "redis://127.0.0.1:{port}/0"\ntimeout = "200ms"\n'
        with linked(redis, lines, is_up=False) as w, w.proxy.client() as client:
            while count[0] < 4 * len(NONSENSE):
                body = ask(client)
                assert is_passed(client.reply(), body)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_key_that_redis_does_not_let_us_hear_of_is_passed_on_and_it_is_said_why(
    password_file: Path,
) -> None:
    secret = password_file.read_text().strip()
    may = f"~{KEY}* resetchannels &workhorse:notifications +subscribe +unsubscribe +mget +ping"
    with redis_server(user=f"polls on >{secret} {may}") as redis:
        lines = f'url = "{redis.url}"\nusername = "polls"\npassword_file = "{password_file}"\n'
        with linked(redis, lines) as w, w.proxy.client() as client:
            for _ in range(3):
                eventually(w.is_connected, "connected")
                body = ask(client)
                assert is_passed(client.reply(), body)
            eventually(lambda: w.proxy.said().count("no permissions") >= 3, "said why")
