"""Backends and stores behind TLS, verified."""

import hashlib
import random
import uuid
from pathlib import Path

from tests.flow.upload_site import SECRET, Bucket, Site, body_of, running, s3_store
from tests.servers.seaweed import Seaweed
from tests.support.harness import proxy, to_backend
from tests.support.monolith import monolith
from tests.support.origin import origin
from tests.support.tls import tls_before

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


def test_a_backend_that_is_somebody_else_is_not_spoken_to(tmp_path: Path) -> None:
    with (
        origin() as backend,
        tls_before(port_of(backend.address), tmp_path, name="other.example") as tls,
        proxy(to_backend(tls.url, f'ca_file = "{tls.ca_file}"')) as front,
    ):
        reply = front.get()
        assert (reply.status, reply.body) == (502, b"502 backend: connect-failed\n")
        assert not backend.requests


def test_a_backend_of_an_unknown_authority_is_not_spoken_to(tmp_path: Path) -> None:
    with (
        origin() as backend,
        tls_before(port_of(backend.address), tmp_path) as tls,
        proxy(to_backend(tls.url)) as front,
    ):
        assert front.get().status == 502
        assert not backend.requests


def test_parts_go_to_a_store_behind_tls(tmp_path: Path, seaweed: Seaweed) -> None:
    bucket = Bucket(seaweed.client(), f"tls-{uuid.uuid4().hex}")
    user = (seaweed.access_key, seaweed.secret_key)
    with tls_before(port_of(seaweed.endpoint), tmp_path) as tls, monolith(SECRET) as backend:
        store = s3_store(tmp_path, tls.url, bucket.name, user, ca_file=str(tls.ca_file))
        route = [{"action": "upload", "path": "/**"}]
        with running(Site(tmp_path, backend, store={"default": store}, route=route)) as site:
            for size in (1000, 17 * MIB):
                told = site.put("/x", body_of(size)).upload
                assert bucket.read(told["key"]) == body_of(size)
