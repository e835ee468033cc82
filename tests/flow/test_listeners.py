"""Listeners that speak TLS and hear the PROXY protocol, as a whole process."""

import hashlib
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest

from tests.flow.upload_site import SECRET, Site, running
from tests.support.child import mortal
from tests.support.client import Client
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.monolith import monolith
from tests.support.origin import Origin, Peer, origin
from tests.support.ports import free_port
from tests.support.tls import Authority, TlsClient, listener_table
from tests.support.waiting import eventually

MIB = 1 << 20
FIXED = '[[route]]\naction = "fixed"\nbody = "hello"\n'
PREFACE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
PREFACE_V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def secure(
    authority: Authority, more: str = "", server: str = "", limits: str = ""
) -> Iterator[tuple[Proxy, Origin]]:
    """A proxy with TLS before an echoing backend."""
    table = listener_table(authority.issue("localhost"), more=more)
    with origin() as backend:
        text = to_backend(backend.address, server=server, limits=limits) + table
        with proxy(text) as front:
            yield front, backend


# -- TLS -------------------------------------------------------------------------------------------


def test_the_backend_learns_of_tls_from_each_of_many_requests(authority: Authority) -> None:
    """The first request opens the backend's connection, the others may take the express lane."""
    with (
        secure(authority) as (front, backend),
        TlsClient(front.port, authority.client_context()) as client,
    ):
        for number in range(20):
            assert client.get(f"/{number}").status == 200
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        protos = [request.all(b"x-forwarded-proto") for request in backend.requests]
        assert protos == [[b"https"]] * 20
        assert [line["status"] for line in front.logged(20)] == [200] * 20


def test_answers_of_every_size_pass_by_the_lane_and_beside_it(authority: Authority) -> None:
    with (
        secure(authority) as (front, _),
        TlsClient(front.port, authority.client_context()) as client,
    ):
        for size in (0, 1, 100, 4000, 5000, 16_384, 60_000, 70_000, 3 * MIB):
            body = random.Random(size).randbytes(size)
            head = b"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % size
            for _ in range(2):
                client.send(head + body)
                assert client.reply().body == body


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bodies_pass_both_ways_at_once_for_a_client_that_reads_late(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    body = random.Random(5).randbytes(20 * MIB)
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    with secure(authority) as (front, _), TlsClient(front.port, context) as client:
        client.send(b"PUT /x HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.send(body)
        assert hashlib.sha256(client.reply().body).digest() == hashlib.sha256(body).digest()
        assert client.get("/again").status == 200


def test_a_trusted_proxy_may_say_which_scheme_its_client_spoke(authority: Authority) -> None:
    server = 'trusted_proxies = ["127.0.0.0/8"]'
    with (
        secure(authority, server=server) as (front, backend),
        TlsClient(front.port, authority.client_context()) as client,
    ):
        for field in ("", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Proto: gopher\r\n") * 2:
            client.get(fields=field)
        protos = [request.header(b"x-forwarded-proto") for request in backend.requests]
        assert protos == [b"https", b"http", b"https"] * 2


def test_the_name_a_client_asks_for_decides_which_certificate_it_sees(
    authority: Authority,
) -> None:
    files = [authority.issue(name) for name in ("localhost", "a.example", "*.b.example")]
    seen = {
        "a.example": "a.example",
        "A.Example": "a.example",
        "x.b.example": "*.b.example",
        "x.y.b.example": "localhost",
        "b.example": "localhost",
        "other.example": "localhost",
    }
    context = authority.client_context()
    context.check_hostname = False
    with proxy(FIXED + listener_table(*files)) as front:
        for asked, shown in seen.items():
            with TlsClient(front.port, context, name=asked) as client:
                found = client.tls.getpeercert()
                assert found is not None
                assert found["subjectAltName"] == (("DNS", shown),), asked
                assert client.get().body == b"hello"
        sock = socket.create_connection(("127.0.0.1", front.port), 30)
        with context.wrap_socket(sock) as tls:  # no name at all
            found = tls.getpeercert()
            assert found is not None
            assert found["subjectAltName"] == (("DNS", "localhost"),)


def openssl(port: int, *flags: str) -> str:
    """What s_client says of a handshake."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *flags],
        input=b"",
        capture_output=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def test_old_versions_and_weak_ciphers_are_refused(authority: Authority) -> None:
    with proxy(FIXED + listener_table(authority.issue("localhost"))) as front:
        weak = ("-cipher", "DEFAULT:@SECLEVEL=0")
        for version in ("-tls1", "-tls1_1"):
            assert "Cipher is (NONE)" in openssl(front.port, version, *weak), version
        for name in ("AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "AES256-GCM-SHA384"):
            said = openssl(front.port, "-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")
            assert "Cipher is (NONE)" in said, name
        for version in ("-tls1_2", "-tls1_3"):
            said = openssl(front.port, version, "-CAfile", str(authority.file))
            assert "Verify return code: 0 (ok)" in said, version
        said = openssl(front.port, "-tls1_2", "-CAfile", str(authority.file))
        assert "ECDHE-ECDSA-AES256-GCM-SHA384" in said


def test_curl_speaks_to_it_and_reuses_its_connection(authority: Authority) -> None:
    with proxy(FIXED + listener_table(authority.issue("localhost"))) as front:
        url = f"https://localhost:{front.port}/"
        flags = ["--cacert", str(authority.file), "--http1.1", "-sS", "-w", "%{num_connects}\n"]
        done = subprocess.run(
            ["curl", "-4", *flags, url, url], capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout) == (0, b"hello1\nhello0\n"), done.stderr


def test_plain_text_gets_no_answer_from_a_tls_listener(authority: Authority) -> None:
    with secure(authority) as (front, backend):
        with front.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert b"HTTP" not in client.until_eof()
        assert not backend.requests
        eventually(lambda: "127.0.0.1: no TLS handshake: " in front.said(), "why")


def test_a_stalled_handshake_ends_at_its_deadline_and_hurts_nobody(authority: Authority) -> None:
    with secure(authority, limits='handshake_timeout = "1s"') as (front, _):
        stalled = [front.client() for _ in range(50)]
        for number, client in enumerate(stalled):
            client.send(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
        eventually(lambda: front.connections() == 50, "all have come")
        with TlsClient(front.port, authority.client_context()) as good:
            assert good.get().status == 200
            for client in stalled:
                assert client.is_at_eof()
                client.sock.close()
            eventually(lambda: front.connections() == 1, "only the good one is left")
            assert good.get().status == 200


def test_an_upgraded_connection_is_a_tunnel_within_tls(authority: Authority) -> None:
    def sockets(peer: Peer) -> None:
        peer.head()
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        while data := peer.read_some():
            peer.send(data)

    table = listener_table(authority.issue("localhost"))
    upgrade = b"GET /ws/x HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with (
        origin(sockets) as backend,
        proxy(to_backend(backend.address) + table) as front,
        TlsClient(front.port, authority.client_context()) as client,
    ):
        client.send(upgrade)
        assert client.reply().status == 101
        for size in (1, 1000, 100_000):
            data = random.Random(size).randbytes(size)
            client.send(data)
            assert client.take(size) == data


def test_a_large_upload_arrives_whole(tmp_path: Path, authority: Authority) -> None:
    port = free_port()
    body = random.Random(6).randbytes(48 * MIB)
    certificate = {"cert_file": str(authority.issue("localhost"))}
    listener = {"address": f"127.0.0.1:{port}", "certificate": [certificate]}
    with monolith(SECRET) as backend:
        site = Site(
            tmp_path,
            backend,
            store={"default": {"type": "local", "path": str(tmp_path / "objects")}},
            route=[{"action": "upload", "path": "/**", "hashes": ["sha256"]}],
            listener=[listener],
        )
        site.tables["server"]["listen"].append(listener["address"])
        with running(site), TlsClient(port, authority.client_context()) as client:
            for fields in (b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked"):
                client.send(b"PUT /x HTTP/1.1\r\nHost: test\r\n%b\r\n\r\n" % fields)
                if b"chunked" in fields:
                    for at in range(0, len(body), MIB):
                        client.send(b"%x\r\n%b\r\n" % (MIB, body[at : at + MIB]))
                    client.send(b"0\r\n\r\n")
                else:
                    client.send(body)
                assert client.reply().status == 201
            site.at_rest()
            digest = hashlib.sha256(body).hexdigest()
            stored = [(tmp_path / "objects" / key).read_bytes() for key in site.objects()]
            assert [hashlib.sha256(each).hexdigest() for each in stored] == [digest] * 2


# -- client certificates ---------------------------------------------------------------------------


def test_only_clients_with_a_certificate_come_in_and_the_backend_learns_whose(
    tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "clients").mkdir()
    clients = Authority(tmp_path / "clients")
    stranger = Authority(tmp_path / "clients", "stranger")
    mine = clients.issue("alice@example.com", common_name="Zoë, \r\nX: y")
    foreign = stranger.issue("mallory@example.com", file="foreign")
    with secure(authority, f'client_ca_file = "{clients.file}"') as (front, backend):
        for shown in (None, foreign):
            with (
                pytest.raises((ssl.SSLError, OSError)),
                TlsClient(front.port, authority.client_context(shown)) as client,
            ):
                client.get()  # TLS 1.3 tells a client only with its first read
        assert not backend.requests
        eventually(lambda: "peer did not return a certificate" in front.said(), "why")
        eventually(lambda: "certificate verify failed" in front.said(), "why")
        with TlsClient(front.port, authority.client_context(mine)) as client:
            for _ in range(3):
                assert client.get(fields="Fastproxy-Client-Subject: CN=root\r\n").status == 200
        subjects = [request.all(b"fastproxy-client-subject") for request in backend.requests]
        assert len(subjects) == 3
        for (subject,) in subjects:
            assert subject.startswith(b"CN=Zo\\C3\\AB\\2C\\20\\0D\\0AX:\\20y,OU=")
        assert not any(request.header(b"x") for request in backend.requests)


def test_no_subject_is_told_where_none_was_proved(authority: Authority) -> None:
    with (
        secure(authority) as (front, backend),
        TlsClient(front.port, authority.client_context()) as client,
    ):
        client.get(fields="Fastproxy-Client-Subject: CN=root\r\n")
        assert backend.requests[0].all(b"fastproxy-client-subject") == []


# -- the PROXY protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize("preface", [PREFACE, PREFACE_V2])
def test_a_preface_in_one_packet_with_the_hello_names_the_client(
    authority: Authority, preface: bytes
) -> None:
    with secure(authority, 'proxy_protocol_from = ["127.0.0.1/32"]') as (front, backend):
        for _ in range(2):
            with TlsClient(front.port, authority.client_context(), before=preface) as client:
                for _ in range(3):
                    assert client.get(fields="X-Forwarded-For: 6.6.6.6\r\n").status == 200
        chains = [request.all(b"x-forwarded-for") for request in backend.requests]
        assert chains == [[b"203.0.113.7"]] * 6
        assert {line["remote_ip"] for line in front.logged(6)} == {"203.0.113.7"}


def test_who_the_preface_names_is_judged_as_a_proxy_not_who_sent_it() -> None:
    table = listener_table(more='proxy_protocol_from = ["127.0.0.0/8"]')
    server = 'trusted_proxies = ["127.0.0.0/8", "203.0.113.0/24"]'
    with origin() as backend, proxy(to_backend(backend.address, server=server) + table) as front:
        for source in (b"203.0.113.7", b"198.51.100.1"):
            with front.client() as client:
                client.send(b"PROXY TCP4 %b 198.51.100.1 1 2\r\n" % source)
                for _ in range(2):
                    client.get(fields="X-Forwarded-For: 192.0.2.33\r\n")
        chains = [request.header(b"x-forwarded-for") for request in backend.requests]
        trusted, stranger = b"192.0.2.33, 203.0.113.7", b"198.51.100.1"
        assert chains == [trusted, trusted, stranger, stranger]
        seen = [line["remote_ip"] for line in front.logged(4)]
        assert seen == ["192.0.2.33", "192.0.2.33", "198.51.100.1", "198.51.100.1"]


def test_balancers_that_do_not_speak_it_are_closed_and_others_are_clients() -> None:
    table = listener_table(more='proxy_protocol_from = ["127.0.0.2/32"]')
    with proxy(FIXED + table) as front:
        assert front.get().body == b"hello"
        with front.client() as client:
            client.send(PREFACE + b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.reply().status == 400
        with socket.create_connection(
            ("127.0.0.1", front.port), 30, source_address=("127.0.0.2", 0)
        ) as balancer:
            balancer.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            with suppress(ConnectionResetError):
                assert balancer.recv(1000) == b""
        assert "no PROXY preface" in front.said()


HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen relay
    bind 127.0.0.1:{port}
    server fastproxy 127.0.0.1:{to} {flag}
"""


@pytest.mark.parametrize("flag", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
def test_haproxy_passes_tls_on_and_says_for_whom(
    tmp_path: Path, authority: Authority, flag: str
) -> None:
    port = free_port()
    with secure(authority, 'proxy_protocol_from = ["127.0.0.1/32"]') as (front, backend):
        config = tmp_path / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, to=front.port, flag=flag))
        relay = subprocess.Popen(mortal(["haproxy", "-f", str(config)]), stdin=subprocess.DEVNULL)
        try:
            eventually(lambda: Client(("127.0.0.1", port)).sock.close() or True, "haproxy")
            for source in ("127.0.0.5", "127.0.0.6"):
                sock = socket.create_connection(("127.0.0.1", port), 30, (source, 0))
                with authority.client_context().wrap_socket(
                    sock, server_hostname="localhost"
                ) as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                    assert tls.recv(1000).startswith(b"HTTP/1.1 200 ")
        finally:
            relay.kill()
            relay.wait()
        chains = [request.header(b"x-forwarded-for") for request in backend.requests]
        assert chains == [b"127.0.0.5", b"127.0.0.6"]


# -- renewal ---------------------------------------------------------------------------------------


def serial(port: int, context: ssl.SSLContext) -> str:
    """Of the certificate that a new connection gets."""
    with TlsClient(port, context) as client:
        found = client.tls.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


class Load:
    """Clients that ask again and again, some on new connections, some on one that is kept."""

    def __init__(self, port: int, context: ssl.SSLContext, *, is_keeping: bool) -> None:
        self._port = port
        self._context = context
        self._is_keeping = is_keeping
        self._stop = threading.Event()
        self.served = 0
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with TlsClient(self._port, self._context) as client:
                    self._ask(client)
        except BaseException as error:
            self.failures.append(error)

    def _ask(self, client: TlsClient) -> None:
        fields = "" if self._is_keeping else "Connection: close\r\n"
        while True:
            assert client.get(fields=fields).status == 200
            self.served += 1
            if self._stop.is_set() or not self._is_keeping:
                return

    def more(self, count: int) -> None:
        """Wait for so many further answers."""
        goal = self.served + count
        eventually(lambda: self.served >= goal or self.failures, "answers")


def test_a_changed_certificate_is_shown_without_any_connection_ending(
    tmp_path: Path, authority: Authority
) -> None:
    context = authority.client_context()
    with secure(authority) as (front, _), Load(front.port, context, is_keeping=True) as load:
        first = serial(front.port, context)
        with TlsClient(front.port, context) as kept:
            load.more(50)
            authority.issue("localhost", file="new").rename(tmp_path / "localhost.pem")
            eventually(lambda: serial(front.port, context) != first, "the new certificate")
            second = serial(front.port, context)
            load.more(50)
            assert kept.get().status == 200
            assert kept.tls.getpeercert()["serialNumber"] == first  # type: ignore[index]

            (tmp_path / "localhost.pem").write_text("torn")
            eventually(lambda: "the former stay" in front.said(), "a word of it")
            assert serial(front.port, context) == second
            assert kept.get().status == 200
            load.more(50)
    assert load.failures == []


def test_a_reload_fails_no_request_and_brings_new_certificates(
    tmp_path: Path, authority: Authority
) -> None:
    context = authority.client_context()
    with secure(authority) as (front, _), Load(front.port, context, is_keeping=False) as load:
        seen = {serial(front.port, context)}
        for number in range(3):
            load.more(30)
            authority.issue("localhost", file="new").rename(tmp_path / "localhost.pem")
            os.kill(front.process.pid, signal.SIGHUP)
            expected = number + 1
            series = 'fastproxy_config_reloads_total{result="ok"}'
            eventually(lambda: front.metric(series) >= expected, "a reload")  # noqa: B023
            seen.add(serial(front.port, context))
        load.more(30)
        assert len(seen) == 4
    assert load.failures == []


def test_a_reload_with_a_broken_certificate_is_refused(
    tmp_path: Path, authority: Authority
) -> None:
    context = authority.client_context()
    with secure(authority) as (front, _):
        first = serial(front.port, context)
        (tmp_path / "localhost.pem").write_text("torn")
        os.kill(front.process.pid, signal.SIGHUP)
        series = 'fastproxy_config_reloads_total{result="failed"}'
        eventually(lambda: front.metric(series) == 1, "a refusal")
        assert serial(front.port, context) == first
        lines = [json.loads(line) for line in front.error_log.read_text().splitlines()]
        assert any("no certificate and its key" in line["msg"] for line in lines)
