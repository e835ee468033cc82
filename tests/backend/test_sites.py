"""Django, Flask, FastAPI, WSGI, ASGI, Rack: the document's applications believe fastproxy only."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastproxy.claims import Signer
from fastproxy.protocol import AUTHORIZE, UPLOAD, body_hash
from tests.backend.honest import SECRET, SIGNER, ask_token, form_of
from tests.backend.sites import SECTIONS, Site, sites
from tests.conformance.spellings import spellings
from tests.docs.shell import blocks
from tests.support.waiting import eventually

LARGE = 3_000_001


@pytest.fixture(scope="module")
def town() -> Iterator[dict[str, Site]]:
    with sites() as found:
        yield found


@pytest.fixture(params=sorted(SECTIONS))
def site(town: dict[str, Site], request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each test says what was taken by taking it off again; nothing else may be."""
    found = town[request.param]
    yield found
    assert found.files() == []


def took(site: Site) -> bytes:
    (file,) = site.files()
    content = file.read_bytes()
    file.unlink()
    return content


def test_the_document_shows_all_of_them() -> None:
    written = SECTIONS.keys() - {"AsyncDjango"}
    assert written == {"Flask", "Django", "FastAPI", "WSGI", "ASGI", "Rack"}
    run = [block for block in blocks("sh") if block.document == "docs/backends.md"]
    checks_vectors = 1
    assert len(run) == len(written) + checks_vectors


@pytest.mark.parametrize("is_chunked", [True, False])
@pytest.mark.parametrize("name", ["photo.bin", "%C3%A4%20b"])
def test_an_upload_reaches_the_application_as_a_file(
    site: Site, name: str, is_chunked: bool
) -> None:
    body = os.urandom(LARGE)
    sent = iter([body[:70_000], body[70_000:]]) if is_chunked else body
    reply = site.through(f"/uploads/{name}", sent)
    assert reply.status == 201, reply
    assert reply.told["size"] == LARGE
    assert reply.told["sha256"] == hashlib.sha256(body).hexdigest()
    assert took(site) == body
    assert site.stored() == []


def test_the_applications_no_reaches_the_client_and_nothing_is_stored(site: Site) -> None:
    reply = site.through("/uploads/a", b"abc", Cookie="none=1")
    assert reply.status == 401
    assert b"log in first" in reply.body
    assert site.stored() == []


def test_more_than_the_application_allows_is_refused_unread(site: Site) -> None:
    token = ask_token(length=(1 << 30) + 1)
    reply = site.direct("/uploads/a/authorize", Fastproxy_Authorize=token)
    assert reply.status == 413
    body, token = site.report(size=(1 << 30) + 1)
    assert site.direct("/uploads/a", body, Fastproxy_Upload=token).status == 413


def test_who_comes_past_fastproxy_is_refused_whatever_it_says(site: Site) -> None:
    body, _ = site.report()
    stored = json.loads(body)["upload"]["path"]
    form = "application/x-www-form-urlencoded"
    told = "application/vnd.fastproxy.upload+json"
    for target, sent, kind in (
        ("/uploads/a", b"the file itself", "application/octet-stream"),
        ("/uploads/a", body, told),
        (f"/uploads/a?path={stored}&upload.path={stored}", body, told),
        ("/uploads/a", f"path={stored}&file.path={stored}".encode(), form),
        ("/uploads/a/authorize", b"", told),
    ):
        reply = site.direct(target, sent, Content_Type=kind, X_Upload_Path=stored)
        assert reply.status == 403, (target, reply)
        assert b"missing" in reply.body


def test_a_client_cannot_bring_its_own_token_through_fastproxy(site: Site) -> None:
    body, token = site.report()
    fields = {"Fastproxy_Upload": token, "FASTPROXY-UPLOAD": token}
    reply = site.through("/other", body, method="POST", **fields)
    assert reply.status in (403, 404, 405)
    # this one is an upload, and the file is what was sent
    reply = site.through("/uploads/a", body, Fastproxy_Upload=token)
    assert (reply.status, took(site)) == (201, body)


def test_a_forged_report_is_a_file_by_any_spelling_of_its_path_or_nothing(site: Site) -> None:
    """CVE-2026-85706: a proxy's upload route missed, and a backend that believed the body."""
    forged, _ = site.report()
    told = "application/vnd.fastproxy.upload+json"
    statuses = set()
    for target in spellings("/uploads/a"):
        reply = site.through(target, forged, Content_Type=told)
        statuses.add(reply.status)
        if reply.status == 201:
            assert took(site) == forged, target  # an upload, and this is what was sent
        else:
            assert reply.status in (307, 308, 400, 403, 404, 405), (target, reply)
            assert site.files() == [], target
    assert {201, 400} <= statuses
    assert (site.folder / "uploads" / "signed").exists()
    eventually(lambda: not site.stored(), "removal")


def test_a_report_counts_once_in_all_processes(site: Site) -> None:
    body, token = site.report()
    assert site.direct("/uploads/a", body, Fastproxy_Upload=token).status == 201
    assert took(site) == b"abc"
    site.report()  # the file is there again
    for _ in range(6):
        reply = site.direct("/uploads/a", body, Fastproxy_Upload=token)
        assert (reply.status, b"replayed" in reply.body) == (403, True)


def test_a_question_counts_once_in_all_processes(site: Site) -> None:
    token = ask_token()
    asked = [site.direct("/uploads/a/authorize", Fastproxy_Authorize=token) for _ in range(4)]
    assert [reply.status for reply in asked] == [200, 403, 403, 403]
    assert json.loads(asked[0].body)["hashes"] == ["sha256"]


def forgeries(site: Site) -> dict[str, tuple[str, bytes, str]]:
    """Reason -> target, body and token of a report that must not count."""
    body, token = site.report()
    stranger, late, other = (
        Signer(b"t" * 32, "fastproxy", 60),
        Signer(SECRET, "fastproxy", 60, lambda: time.time() - 100),
        Signer(SECRET, "other", 60),
    )
    told: Any = {"body_sha256": body_hash(body), "upload": json.loads(body)["upload"]}
    asks = SIGNER.sign(AUTHORIZE, b"PUT", "/uploads/a", **told).decode()
    post = SIGNER.sign(UPLOAD, b"POST", "/uploads/a", **told).decode()
    return {
        "malformed": ("/uploads/a", body, "nonsense"),
        "signature": ("/uploads/a", *site.report(signer=stranger)),
        "issuer": ("/uploads/a", *site.report(signer=other)),
        "purpose": ("/uploads/a", body, asks),
        "expired": ("/uploads/a", *site.report(signer=late)),
        "request": ("/uploads/b", body, token),
        "request ": ("/uploads/a", body, post),
        "body": ("/uploads/a", body.replace(b'"size":3', b'"size":4'), token),
        "body ": ("/uploads/a", body + b" " * 70_000, token),
        "place": ("/uploads/a", *site.report(path="/etc/hostname")),
    }


def test_a_forged_report_is_refused_and_says_why(site: Site) -> None:
    for reason, (target, body, token) in forgeries(site).items():
        reply = site.direct(target, body, Fastproxy_Upload=token)
        assert (reply.status, reason.strip().encode() in reply.body) == (403, True), (reason, reply)
    assert (site.folder / "uploads" / "signed").exists()


@pytest.fixture
def rack(town: dict[str, Site]) -> Site:
    """The one of these that takes forms, too: for the others docs/forms.md has an application."""
    return town["Rack"]


def photo(data: bytes) -> tuple[bytes, str]:
    """A form of a client, and its type."""
    text = b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\nh\xc3\xb6liday\r\n'
    file = b'--B\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
    return text + file + data + b"\r\n--B--\r\n", "multipart/form-data; boundary=B"


def test_rack_is_given_the_files_of_a_form_and_its_fields(rack: Site) -> None:
    data = os.urandom(LARGE)
    body, kind = photo(data)
    reply = rack.through("/posts", body, method="POST", Content_Type=kind)
    assert reply.status == 201, reply
    told: dict[str, Any] = reply.told
    (file,) = told["files"]
    assert (told["title"], file["size"]) == ("höliday", LARGE)
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert took(rack) == data
    assert rack.stored() == []


def test_rack_believes_no_form_past_fastproxy_and_each_once(rack: Site) -> None:
    rack.report()  # so that there is a file
    body, fields = form_of("/posts", str(rack.folder / "uploads" / "signed"))
    kind = {"Content_Type": fields["Content-Type"]}
    token = {"Fastproxy_Upload": fields["Fastproxy-Upload"]}
    assert b"missing" in rack.direct("/posts", body, method="POST", **kind).body
    changed = body.replace(b"photo", b"other")
    assert b"body" in rack.direct("/posts", changed, method="POST", **kind, **token).body
    assert rack.files() == []
    assert rack.direct("/posts", body, method="POST", **kind, **token).status == 201
    assert took(rack) == b"abc"
    for _ in range(4):
        reply = rack.direct("/posts", body, method="POST", **kind, **token)
        assert (reply.status, b"replayed" in reply.body) == (403, True)
    raw, report = rack.report("/posts")
    assert rack.direct("/posts", raw, method="POST", Fastproxy_Upload=report).status == 403
