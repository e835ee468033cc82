"""The demo's application believes fastproxy and nobody else."""

import base64
import io
import json
import time
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from fastproxy.claims import Signer
from fastproxy.config.schema import UploadRoute
from fastproxy.demo.monolith import make_app
from fastproxy.protocol import NATIVE
from fastproxy.uploads import answer
from tests.backend.honest import SECRET, ask_token, report_of


class Visit:
    """One request to an application in `home`, and its answer."""

    def __init__(self, home: Path, method: str, path: str, body: bytes = b"", **fields: str):
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.encode().decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.file_wrapper": FileWrapper,
        }
        environ.update({f"HTTP_FASTPROXY_{name.upper()}": value for name, value in fields.items()})
        setup_testing_defaults(environ)
        self.status = 0
        self.headers: dict[str, str] = {}
        pieces = make_app(str(home))(environ, self._start)
        self.body = b"".join(pieces)
        if hasattr(pieces, "close"):
            pieces.close()

    def _start(self, status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        self.status = int(status.split()[0])
        self.headers = dict(headers)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(base64.b64encode(SECRET) + b"\n")
    (tmp_path / "store" / "incoming").mkdir(parents=True)
    return tmp_path


def upload(home: Path, key: str = "incoming/1", **changes: Any) -> tuple[bytes, str]:
    """The body of a report about a stored file, and its token."""
    return report_of(**{"key": key, "path": str(home / "store" / key), **changes})


def store(home: Path, key: str = "incoming/1") -> Path:
    place = home / "store" / key
    place.write_bytes(b"abc")
    return place


def test_a_permission_is_one_that_fastproxy_reads(home: Path) -> None:
    visit = Visit(home, "PUT", "/uploads/a/authorize?x=1", authorize=ask_token())
    assert (visit.status, visit.headers["Content-Type"]) == (200, NATIVE.permission_type)
    permission = answer.read_permission(visit.body, UploadRoute())
    assert (permission.id, permission.hashes) == ("a", ("sha256",))


def test_a_body_that_is_announced_too_large_is_refused(home: Path) -> None:
    token = ask_token(length=11 << 30)
    assert Visit(home, "PUT", "/uploads/a/authorize", authorize=token).status == 413


def test_a_report_moves_the_file_where_it_can_be_downloaded(home: Path) -> None:
    stored = store(home)
    body, token = upload(home)
    visit = Visit(home, "PUT", "/uploads/a", body, upload=token)
    assert visit.status == 201
    assert json.loads(visit.body)["bytes_this_application_read"] == len(body)
    assert not stored.exists()
    download = Visit(home, "GET", "/uploads/a")
    assert (download.status, download.body) == (200, b"abc")
    assert download.headers["Content-Length"] == "3"


def test_a_report_counts_once(home: Path) -> None:
    body, token = upload(home)
    store(home)
    assert Visit(home, "PUT", "/uploads/a", body, upload=token).status == 201
    store(home)
    assert Visit(home, "PUT", "/uploads/a", body, upload=token).status == 403


def test_parameters_and_unsigned_bodies_are_not_believed(home: Path) -> None:
    stored = store(home)
    body, token = upload(home)
    forged = body.replace(b'"size":3', b'"size":4')
    assert Visit(home, "PUT", "/uploads/a", forged, upload=token).status == 403
    assert Visit(home, "PUT", f"/uploads/a?path={stored}", body).status == 403
    assert Visit(home, "PUT", "/uploads/a/authorize").status == 403
    assert stored.exists()


def test_a_token_is_good_for_its_own_purpose_and_path_only(home: Path) -> None:
    store(home)
    body, token = upload(home)
    assert Visit(home, "PUT", "/uploads/b", body, upload=token).status == 403
    assert Visit(home, "POST", "/uploads/a", body, upload=token).status == 403
    assert Visit(home, "PUT", "/uploads/a/authorize", authorize=token).status == 403
    assert Visit(home, "PUT", "/uploads/a", body, upload=ask_token()).status == 403
    old = Signer(SECRET, "fastproxy", 60, lambda: time.time() - 100)
    body, stale = report_of(signer=old)
    assert Visit(home, "PUT", "/uploads/a", body, upload=stale).status == 403


@pytest.mark.parametrize("path", ["/etc/hostname", "store/../secret", "store/incoming/none"])
def test_even_a_signed_report_cannot_name_a_file_elsewhere(home: Path, path: str) -> None:
    body, token = upload(home, path=str(home / path))
    assert Visit(home, "PUT", "/uploads/a", body, upload=token).status == 403
    assert (home / "secret").exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/none", 404),
        ("GET", "/uploads/never", 404),
        ("GET", "/uploads/../secret", 404),
        ("GET", "/uploads/.hidden", 404),
        ("PUT", "/uploads/ü", 404),
        ("PUT", "/uploads/a/b", 404),
        ("DELETE", "/uploads/a", 405),
    ],
)
def test_other_requests(home: Path, method: str, path: str, status: int) -> None:
    assert Visit(home, method, path).status == status
