"""The shared secret is changed while uploads run: backends that know both see no difference."""

import base64
import os
import signal
from pathlib import Path

import jwt

from tests.flow.upload_site import SECRET, Site, body_of, running, write_private
from tests.support.monolith import Monolith, monolith
from tests.support.waiting import eventually

NEW = b"another secret, 32 bytes long..."


def signer(backend: Monolith, path: str) -> set[bytes]:
    """The secrets that verify both claims about an upload."""
    (question,) = backend.questions(path)
    (report,) = backend.reports(path)
    tokens = {
        "fastproxy-authorize": question.field("Fastproxy-Authorize"),
        "fastproxy-upload": report.field("Fastproxy-Upload"),
    }
    return {
        secret
        for secret in (SECRET, NEW)
        if all(verifies(secret, *pair) for pair in tokens.items())
    }


def verifies(secret: bytes, audience: str, token: str | None) -> bool:
    try:
        jwt.decode(token or "", secret, algorithms=["HS256"], audience=audience)
    except jwt.InvalidSignatureError:
        return False
    return True


def test_a_secret_is_changed_without_a_lost_upload(tmp_path: Path) -> None:
    body = body_of(300_000)
    with monolith(SECRET) as backend:
        site = Site(
            tmp_path,
            backend,
            store={"default": {"type": "local", "path": str(tmp_path / "objects")}},
            route=[{"action": "upload", "path": "/**"}],
        )
        with running(site), site.client() as client:
            client.head("PUT", "/during", {"Content-Length": str(len(body))})
            client.send(body[:1000])
            eventually(lambda: backend.questions("/during"), "begun with the old secret")
            old = site.workers
            write_private(tmp_path / "secret", base64.b64encode(NEW).decode())
            os.kill(site.pid, signal.SIGHUP)
            eventually(lambda: set(site.workers) - set(old), "a new worker")
            eventually(lambda: site.metric('fastproxy_workers{state="draining"}') == 1, "drains")
            assert site.put("/after", body).status == 201
            client.send(body[1000:])
            assert client.response().status == 201
        assert signer(backend, "/during") == {SECRET}
        assert signer(backend, "/after") == {NEW}
