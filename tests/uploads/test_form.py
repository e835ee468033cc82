"""What is told of a form: its fields as they were, its files in the words of a dialect."""

import email
import email.policy
import hashlib

import jwt
import pytest

from fastproxy.claims import Signer
from fastproxy.errors import BadForm, FormTooLarge, MemoryShort
from fastproxy.protocol import GITLAB, NATIVE, Dialect
from fastproxy.uploads.form import FieldBudget, FormFields, StoredFile
from fastproxy.uploads.report import StoredUpload
from fastproxy.wire.part_head import PartHead

SECRET = b"a shared secret of 32 bytes long"
FILE = StoredFile(
    "photo",
    StoredUpload("7", "s", "k", "/srv/k", 3, "e", {"md5": "0" * 32}, "image/png", name="a.png"),
)


def signer(dialect: Dialect) -> Signer:
    return Signer(SECRET, dialect.issuer, 60, dialect=dialect)


def fields(*names: str, limit: int = 10, size: int = 1000, field_budget: int = 1000) -> FormFields:
    written = FormFields(limit, size, FieldBudget(field_budget))
    for name in names:
        written.begin(PartHead(name, None, "text/plain"))
        written.add(b"a value\r\n")
        written.end()
    return written


def read(body: bytes, lines: bytes) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """The head's fields; name, type and value of each field."""
    message = email.message_from_bytes(lines + b"\r\n" + body, policy=email.policy.HTTP)
    assert not message.defects
    parts = [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_content_type(),
            part.get_payload(decode=True).decode(),
        )
        for part in message.iter_parts()
    ]
    return dict(message.items()), parts


def claims(token: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(
        token, SECRET, algorithms=["HS256"], options={"verify_aud": False}
    )
    return found


def test_a_native_form_has_a_token_for_each_file_and_one_for_all() -> None:
    body, lines = fields("title").report([FILE], signer(NATIVE), b"POST", "/a")
    head, parts = read(body, lines)
    assert parts[0] == ("title", "text/plain", "a value\r\n")
    (name, _, token) = parts[1]
    assert name == "photo.fastproxy-upload"
    told = claims(token)
    assert (told["aud"], told["field"], told["name"]) == ("fastproxy-file", "photo", "a.png")
    whole = claims(head["Fastproxy-Upload"])
    assert (whole["aud"], whole["files"]) == ("fastproxy-form", {"photo": ["/srv/k"]})
    assert whole["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_a_native_form_names_every_file_of_a_field() -> None:
    second = StoredFile("photo", StoredUpload("7", "s", "k-2", "/srv/k-2", 3, "e"))
    _, lines = fields().report([FILE, second], signer(NATIVE), b"POST", "/a")
    whole = claims(lines.split(b"Fastproxy-Upload: ")[1].strip().decode())
    assert whole["files"] == {"photo": ["/srv/k", "/srv/k-2"]}


def test_gitlab_hears_of_files_in_its_own_words() -> None:
    body, lines = fields("title").report([FILE], signer(GITLAB), b"POST", "/a")
    head, parts = read(body, lines)
    found = {name: value for name, _, value in parts}
    assert list(found) == [
        "title",
        "photo.name",
        "photo.path",
        "photo.remote_url",
        "photo.remote_id",
        "photo.size",
        "photo.upload_duration",
        "photo.md5",
        "photo.gitlab-workhorse-upload",
    ]
    assert (found["photo.name"], found["photo.size"]) == ("a.png", "3")
    told = claims(found["photo.gitlab-workhorse-upload"])["upload"]
    assert told == {name[6:]: found[name] for name in list(found)[1:-1]}
    rewritten = claims(head["Gitlab-Workhorse-Multipart-Fields"])["rewritten_fields"]
    assert rewritten == {"photo": "/srv/k"}
    assert claims(head["Gitlab-Workhorse-Api-Request"])["iss"] == "gitlab-workhorse"


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (NATIVE, "photo.fastproxy-upload"),
        (NATIVE, "other.fastproxy-upload"),
        (NATIVE, "a[photo.Fastproxy-Upload]"),
        (GITLAB, "photo.path"),
        (GITLAB, "other.gitlab-workhorse-upload"),
        (GITLAB, "photo.gitlab-workhorse-upload"),
    ],
)
def test_a_client_cannot_write_what_is_ours(dialect: Dialect, name: str) -> None:
    with pytest.raises(BadForm):
        fields(name).report([FILE], signer(dialect), b"POST", "/a")
    with pytest.raises(BadForm):
        fields("title", name).report([FILE], signer(dialect), b"POST", "/a")


def test_gitlab_cannot_be_told_of_two_files_in_one_field() -> None:
    """Rails would believe the last: the other would be in the store for ever."""
    with pytest.raises(BadForm):
        fields().report([FILE, FILE], signer(GITLAB), b"POST", "/a")
    fields().report([FILE, FILE], signer(NATIVE), b"POST", "/a")


def test_fields_have_limits() -> None:
    with pytest.raises(FormTooLarge):
        fields("a", "b", "c", limit=2)
    with pytest.raises(FormTooLarge):
        fields("a", size=100)
    with pytest.raises(MemoryShort):
        fields("a", field_budget=100)


def test_what_fields_held_is_given_back() -> None:
    field_budget = FieldBudget(300)
    for _ in range(5):
        written = FormFields(10, 1000, field_budget)
        written.begin(PartHead("a", None, ""))
        written.add(b"x" * 100)
        assert 100 < field_budget.held < 300
        written.close()
        written.close()
        assert field_budget.held == 0


def test_who_held_most_for_longest_gives_way_after_some_seconds() -> None:
    now, told = 0.0, []
    field_budget = FieldBudget(100_000, lambda: now)

    def holding(name: str, size: int) -> FormFields:
        held = FormFields(9, 100_000, field_budget, lambda fault: told.append(name))
        held.add(b"x" * size)
        return held

    little = holding("little", 10)  # a file of it is still coming
    now = 5.0
    slow = holding("slow", 50_000)
    now = 12.0
    holding("quick", 45_000)
    with pytest.raises(MemoryShort):  # the slow one has had seven seconds
        slow.add(b"x" * 10_000)
    now = 16.0
    holding("new", 40_000)
    assert (told, slow.size, little.size) == (["slow"], 0, 10)
    now = 40.0
    little.add(b"x" * 50_000)
    assert told == ["slow", "quick"]
    assert field_budget.held == 90_010


def test_no_two_forms_have_one_boundary() -> None:
    assert (
        fields("a").report([], signer(NATIVE), b"POST", "/a")[0][:40]
        != (fields("a").report([], signer(NATIVE), b"POST", "/a")[0][:40])
    )
