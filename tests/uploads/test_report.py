"""What a backend is told of a stored upload, in the words of its dialect."""

from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
import pytest

from fastproxy.claims import Signer
from fastproxy.protocol import GITLAB, NATIVE, Dialect, body_hash
from fastproxy.uploads.report import StoredUpload, file_fields, form_lines, report

SECRET = b"s" * 40
STORED = StoredUpload(
    "7", "files", "a/b", "/srv/a/b", 14, "e-1", {"sha256": "ab" * 32, "md5": "cd" * 16},
    "text/plain", 2, 0.000007, name='né "w"&=.txt', url="https://store.example/a?x=1&y",
)  # fmt: skip
GITLAB_VALUES = {
    "name": STORED.name, "path": "/srv/a/b", "remote_url": STORED.url, "remote_id": "7",
    "size": "14", "upload_duration": "0.000007", "sha256": "ab" * 32, "md5": "cd" * 16,
}  # fmt: skip


def signer(dialect: Dialect) -> Signer:
    return Signer(SECRET, dialect.issuer, 60, dialect=dialect)


def claims(token: str | bytes, audience: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"], audience=audience)
    return found


def fields(lines: bytes) -> dict[str, str]:
    """Lower-case name -> value."""
    pairs = (line.partition(": ") for line in lines.decode().splitlines())
    return {name.lower(): value for name, _, value in pairs}


def test_gitlab_is_told_of_a_raw_body_by_a_form() -> None:
    body, lines = report(STORED, signer(GITLAB), b"PUT", "/up")
    form = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    upload = claims(form.pop("file.gitlab-workhorse-upload"))["upload"]
    assert upload == GITLAB_VALUES
    assert form == {f"file.{name}": value for name, value in GITLAB_VALUES.items()}
    head = fields(lines)
    assert head["content-type"] == "application/x-www-form-urlencoded"
    rewritten = claims(head["gitlab-workhorse-multipart-fields"])
    assert (rewritten["iss"], rewritten["rewritten_fields"]) == (
        "gitlab-workhorse", {"file": "/srv/a/b"},
    )  # fmt: skip
    assert claims(head["gitlab-workhorse-api-request"]).keys() == {"iss", "iat", "exp"}
    assert head["gitlab-workhorse"].startswith("fastproxy-")


def test_what_gitlab_has_no_value_for_is_an_empty_text() -> None:
    bare = StoredUpload("", "", "k", "", 0, "")
    body, _ = report(bare, signer(GITLAB), b"PUT", "/up")
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    for name in ("path", "remote_url", "remote_id", "name"):
        assert form[f"file.{name}"] == ""
    assert form["file.size"] == "0"


def test_a_native_report_says_nothing_that_is_not_documented() -> None:
    body, lines = report(STORED, signer(NATIVE), b"PUT", "/up")
    told = orjson.loads(body)["upload"]
    assert "name" not in told
    assert "url" not in told
    token = fields(lines)["fastproxy-upload"]
    found = claims(token, "fastproxy-upload")
    assert (found["upload"], found["body_sha256"]) == (told, body_hash(body))


def test_a_native_form_shows_only_the_token_of_a_file() -> None:
    ((name, token),) = file_fields("doc", STORED, signer(NATIVE), b"POST", "/up")
    assert name == "doc.fastproxy-upload"
    found = claims(token, "fastproxy-file")
    assert (found["field"], found["name"]) == ("doc", STORED.name)
    assert (found["upload"]["size"], found["upload"]["hashes"]) == (14, STORED.hashes)


@pytest.mark.parametrize(
    ("dialect", "audience", "name", "claim"),
    [
        (NATIVE, "fastproxy-form", "fastproxy-upload", "files"),
        (GITLAB, None, "gitlab-workhorse-multipart-fields", "rewritten_fields"),
    ],
)
def test_the_head_of_a_form_lists_its_files(
    dialect: Dialect, audience: str | None, name: str, claim: str
) -> None:
    files = {"a": "/tmp/a", "b[c]": ""}
    lines = form_lines(files, b"body", signer(dialect), b"POST", "/up")
    found = claims(fields(lines)[name], audience)
    assert found[claim] == files
    assert found.get("body_sha256") == (body_hash(b"body") if dialect is NATIVE else None)
