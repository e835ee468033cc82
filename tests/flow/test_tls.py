"""Backends and stores behind TLS, verified."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.flow.upload_site import SECRET, Site, body_of, running
from tests.flow.upload_world import Bucket
from tests.servers.seaweed import Seaweed
from tests.support.harness import proxy, to_backend
from tests.support.monolith import monolith
from tests.support.origin import origin
from tests.support.tls import tls_before
from tests.support.waiting import eventually

MIB = 1 << 20


def port_of(address: str) -> int:
    """The port of http://127.0.0.1:PORT."""
    return int(address.rpartition(":")[2])


def test_bodies_pass_to_and_from_a_backend_behind_tls(tmp_path: Path) -> None:
    body = random.Random(4).randbytes(5 * MIB)
    with (
        origin() as backend,
        tls_before(port_of(backend.address), tmp_path) as tls,
        proxy(to_backend(tls.url, f'ca_file = "{tls.ca_file}"')) as front,
        front.client() as client,
    ):
        for _ in range(3):
            client.send(b"PUT /x HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body))
            client.send(body)
            assert hashlib.sha256(client.reply().body).digest() == hashlib.sha256(body).digest()
        assert backend.connections == 1


@pytest.mark.parametrize(
    ("name", "expired", "backend", "said"),
    [
        ("other.example", False, 'ca_file = "CA"', "Hostname mismatch"),
        ("localhost", True, 'ca_file = "CA"', "certificate has expired"),
        ("localhost", False, "", "unable to get local issuer certificate"),
        ("localhost", False, 'ca_file = "CA"\ntls_server_name = "b.example"', "Hostname mismatch"),
    ],
)
def test_a_backend_that_cannot_prove_who_it_is_is_not_spoken_to(
    tmp_path: Path, name: str, expired: bool, backend: str, said: str
) -> None:
    with (
        origin() as server,
        tls_before(port_of(server.address), tmp_path, name=name, expired=expired) as tls,
        proxy(to_backend(tls.url, backend.replace("CA", str(tls.ca_file)))) as front,
    ):
        reply = front.get()
        assert (reply.status, reply.body) == (502, b"502 backend: bad-certificate\n")
        assert not server.requests
        eventually(lambda: said in front.said(), "the reason")
        assert tls.url in front.said()


@pytest.mark.parametrize(
    ("name", "expired", "backend"),
    [
        ("b.example", False, 'ca_file = "CA"\ntls_server_name = "b.example"'),
        ("other.example", True, "tls_verify = false"),
    ],
)
def test_a_backend_may_have_another_name_or_go_unverified_when_that_is_asked_for(
    tmp_path: Path, name: str, expired: bool, backend: str
) -> None:
    with (
        origin() as server,
        tls_before(port_of(server.address), tmp_path, name=name, expired=expired) as tls,
        proxy(to_backend(tls.url, backend.replace("CA", str(tls.ca_file)))) as front,
    ):
        assert front.get().status == 200
        assert len(server.requests) == 1


def test_parts_go_to_a_store_behind_tls(tmp_path: Path, seaweed: Seaweed) -> None:
    bucket = Bucket(seaweed, "tls")
    with tls_before(port_of(seaweed.endpoint), tmp_path) as tls, monolith(SECRET) as backend:
        store = bucket.table(tmp_path, endpoint=tls.url, ca_file=str(tls.ca_file))
        route = [{"action": "upload", "path": "/**"}]
        with running(Site(tmp_path, backend, store={"default": store}, route=route)) as site:
            for size in (1000, 17 * MIB):
                told = site.put("/x", body_of(size)).upload
                assert bucket.read(told["key"]) == body_of(size)


@pytest.mark.parametrize("verify", [True, False])
def test_a_store_of_an_unknown_authority_gets_nothing_unless_that_is_asked_for(
    tmp_path: Path, seaweed: Seaweed, verify: bool
) -> None:
    bucket = Bucket(seaweed, "tls")
    with tls_before(port_of(seaweed.endpoint), tmp_path) as tls, monolith(SECRET) as backend:
        store = bucket.table(tmp_path, endpoint=tls.url, ca_file="", tls_verify=verify, attempts=1)
        route = [{"action": "upload", "path": "/**"}]
        with running(Site(tmp_path, backend, store={"default": store}, route=route)) as site:
            for size in (1000, 17 * MIB):  # one PUT; many parts, and requests of the library
                response = site.put("/x", body_of(size))
                if verify:
                    assert response.status in (502, 503)
                    assert b"storage" in response.body
                else:
                    assert bucket.read(response.upload["key"]) == body_of(size)
            if verify:
                eventually(lambda: "bad-certificate" in site.errors(), "the reason")
