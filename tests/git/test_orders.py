"""GitLab's orders mean the same as ours; what could be an option or lead elsewhere is refused."""

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import BadOrder
from fastproxy.git import gitlab_orders, orders

LEFT, RIGHT = "a" * 40, "b" * 40
SNAKE = {"storage_name": "default", "relative_path": "@hashed/x.git"}
CAMEL = {"storageName": "default", "relativePath": "@hashed/x.git"}
NAME = "@hashed/x.git"


def read(kind: type[Any], said: object) -> Any:
    return msgspec.json.decode(json.dumps(said), type=kind).order()


def test_gitlabs_words_are_understood() -> None:
    blob = {"GitalyServer": {}, "GetBlobRequest": {"repository": SNAKE, "oid": LEFT, "limit": -1}}
    assert read(gitlab_orders.GitlabBlob, blob) == orders.Blob(repository=NAME, oid=LEFT)
    between = {"repository": CAMEL, "leftCommitId": LEFT, "rightCommitId": RIGHT}
    difference = orders.Difference(repository=NAME, left=LEFT, right=RIGHT)
    for word in ("RawDiffRequest", "RawPatchRequest"):
        assert read(gitlab_orders.GitlabDiff, {word: json.dumps(between)}) == difference
    snapshot = {"GetSnapshotRequest": json.dumps({"repository": CAMEL})}
    assert read(gitlab_orders.GitlabSnapshot, snapshot) == orders.Snapshot(repository=NAME)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        *(("x.tar.gz", "tar.gz"), ("x.tgz", "tar.gz"), ("x.zip", "zip"), ("x.tar", "tar")),
        *(("x.tbz2", "tar.bz2"), ("x.tar.bz2", "tar.bz2")),
    ],
)
def test_the_format_is_that_of_the_name(path: str, form: str) -> None:
    said = {
        "ArchivePath": f"/cache/{path}",
        "ArchivePrefix": "x-main",
        "CommitId": LEFT,
        "GitalyRepository": SNAKE,
        "DisableCache": True,
    }
    found = read(gitlab_orders.GitlabArchive, said)
    assert (found.format, found.prefix, found.cache) == (form, "x-main/", False)
    assert found.file_name == f"x-main.{form}"


def field(number: int, value: bytes | int) -> bytes:
    """One field as protobuf writes it, of less than 128 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def request(*more: bytes, form: int = 2, commit: bytes = LEFT.encode()) -> bytes:
    repository = field(2, b"default") + field(3, NAME.encode()) + field(6, b"project-1")
    return b"".join(
        [field(1, repository), field(2, commit), field(3, b"x-main"), field(4, form), *more]
    )


def told(message: bytes) -> dict[str, str]:
    """As Rails writes it, with line ends."""
    return {"ArchivePath": "/x", "GetArchiveRequest": base64.encodebytes(message).decode()}


@pytest.mark.parametrize(("form", "name"), [*enumerate(("zip", "tar", "tar.gz", "tar.bz2"))])
def test_an_archive_is_ordered_by_a_message_for_gitaly(form: int, name: str) -> None:
    found = read(gitlab_orders.GitlabArchive, told(request(field(5, b"docs"), form=form)))
    expected = {"repository": NAME, "commit": LEFT, "prefix": "x-main/", "path": "docs"}
    assert found == msgspec.convert({**expected, "format": name}, orders.Archive)


def test_all_that_a_message_for_gitaly_says_of_an_archive_is_heard() -> None:
    said = request(
        field(5, b"docs/"), field(6, b"docs/a"), field(6, b"docs/b"), field(7, 1), field(8, 1)
    )
    found = read(gitlab_orders.GitlabArchive, told(said))
    assert (found.path, found.exclude) == ("docs", ("docs/a", "docs/b"))
    assert (found.elide, found.pointers) == (True, orders.Pointers.WARN)
    plain = read(gitlab_orders.GitlabArchive, told(request(field(7, 0), field(8, 0))))
    assert (plain.exclude, plain.elide) == ((), False)
    assert plain.pointers is orders.Pointers.SEND


def test_a_field_that_nobody_knows_is_not_passed_over() -> None:
    with pytest.raises(BadOrder, match="field 9 is not known"):
        read(gitlab_orders.GitlabArchive, told(request(field(9, 1))))


@pytest.mark.parametrize(
    "message",
    [
        *(b"\xff" * 20, b"\x0a", b"\x0a\x05ab", b"\x0d\x01\x02\x03\x04", b"\x0a\x00" * 65),
        *(request(commit=b"--remote=x"), request(commit=b""), request(form=4), request()[:-1]),
        *(request(field(5, b"../x")), request(field(5, b"--output=x")), request(field(5, b"\xff"))),
        *(field(1, 7), request(field(3, b"/etc")), request(field(6, 1)), request(field(7, b"x"))),
        *(request(field(6, b"../x")), request(field(6, b":(glob)*")), request(field(6, b"."))),
        request(field(5, b"docs"), field(6, b"docs2/a"), field(7, 1)),
        request(*[field(6, b"%d" % number) for number in range(65)]),
    ],
)
def test_a_message_that_must_not_be_followed_is_the_backends_fault(message: bytes) -> None:
    with pytest.raises(BadOrder):
        read(gitlab_orders.GitlabArchive, told(message))


@given(st.binary(max_size=200))
def test_no_message_is_a_bug_of_ours(message: bytes) -> None:
    with suppress(BadOrder):
        read(gitlab_orders.GitlabArchive, told(message))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (gitlab_orders.GitlabDiff, {}),
        (gitlab_orders.GitlabDiff, {"RawDiffRequest": "{"}),
        (gitlab_orders.GitlabSnapshot, {"GetSnapshotRequest": "[]"}),
        (gitlab_orders.GitlabArchive, {"ArchivePath": "/x", "GetArchiveRequest": "é"}),
        (gitlab_orders.GitlabArchive, {"ArchivePath": "/x", "GetArchiveRequest": "a"}),
        (gitlab_orders.GitlabArchive, {"GitalyRepository": SNAKE, "CommitId": LEFT}),
        (
            gitlab_orders.GitlabArchive,
            {
                "GitalyRepository": SNAKE,
                "CommitId": LEFT,
                "ArchivePath": "x.zip",
                "ArchivePrefix": "/etc",
            },
        ),
    ],
)
def test_what_cannot_be_understood_is_the_backends_fault(kind: type[Any], said: object) -> None:
    with pytest.raises(BadOrder):
        read(kind, said)


@pytest.mark.parametrize(
    "id_", ["HEAD", "--all", "a" * 39, "A" * 40, "a" * 40 + "\n", "a" * 41, ""]
)
def test_ids_are_whole_and_nothing_else(id_: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps({"repository": "x", "oid": id_}), type=orders.Blob)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (orders.Blob, {"oid": LEFT}),
        (orders.Difference, {"left": LEFT, "right": RIGHT}),
        (orders.Snapshot, {}),
        (orders.Archive, {"commit": LEFT}),
    ],
)
def test_a_key_of_an_order_that_nobody_knows_is_not_passed_over(
    kind: type[Any], said: dict[str, object]
) -> None:
    whole = {"repository": "x", **said}
    assert msgspec.json.decode(json.dumps(whole), type=kind).repository == "x"
    with pytest.raises(msgspec.ValidationError, match="excludes"):
        msgspec.json.decode(json.dumps({**whole, "excludes": ["secrets"]}), type=kind)


@pytest.mark.parametrize(
    "names",
    [
        *({"prefix": "/x"}, {"prefix": "a/../../b"}, {"prefix": ".."}, {"prefix": "a\nb"}),
        *({"path": "--output=x"}, {"path": ":(glob)*"}, {"path": "../x"}, {"path": "/etc"}),
        *({"exclude": ["/x"]}, {"exclude": ["-x"]}, {"exclude": [""]}, {"exclude": ["a\0"]}),
        {"path": "a", "exclude": ["a/"], "elide": True},
        {"prefix": "x" * 513},
    ],
)
def test_names_in_archives_stay_where_they_are(names: dict[str, str]) -> None:
    said = {"repository": "x", "commit": LEFT, **names}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(said), type=orders.Archive)


@pytest.mark.parametrize(
    ("said", "contents"),
    [
        ({}, (LEFT,)),
        ({"path": "./a//b/"}, (LEFT, ":(top,literal)a/b")),
        ({"path": "a", "elide": True}, (f"{LEFT}:a",)),
        ({"path": ".", "elide": True}, (LEFT,)),
        ({"exclude": ["*"]}, (LEFT, ":(top,exclude,literal)*")),
        (
            {"path": "a/", "exclude": ["a/b", "./a/c"]},
            (LEFT, ":(top,literal)a", ":(top,exclude,literal)a/b", ":(top,exclude,literal)a/c"),
        ),
        (
            {"path": "a/", "exclude": ["a/a/b"], "elide": True},
            (f"{LEFT}:a", ":(top,exclude,literal)a/b"),
        ),
    ],
)
def test_git_is_told_which_paths_of_which_tree(
    said: dict[str, object], contents: tuple[str, ...]
) -> None:
    order = {"repository": "x", "commit": LEFT, **said}
    assert msgspec.json.decode(json.dumps(order), type=orders.Archive).contents == contents
