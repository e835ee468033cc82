"""GitLab's orders mean the same as ours; what could be an option or lead elsewhere is refused."""

import json
from typing import Any

import msgspec
import pytest

from fastproxy.errors import BadOrder
from fastproxy.git import orders

LEFT, RIGHT = "a" * 40, "b" * 40
SNAKE = {"storage_name": "default", "relative_path": "@hashed/x.git"}
CAMEL = {"storageName": "default", "relativePath": "@hashed/x.git"}
NAME = "@hashed/x.git"


def read(kind: type[Any], said: object) -> Any:
    return msgspec.json.decode(json.dumps(said), type=kind).order()


def test_gitlabs_words_are_understood() -> None:
    blob = {"GitalyServer": {}, "GetBlobRequest": {"repository": SNAKE, "oid": LEFT, "limit": -1}}
    assert read(orders.GitlabBlob, blob) == orders.Blob(repository=NAME, oid=LEFT)
    between = {"repository": CAMEL, "leftCommitId": LEFT, "rightCommitId": RIGHT}
    difference = orders.Difference(repository=NAME, left=LEFT, right=RIGHT)
    for word in ("RawDiffRequest", "RawPatchRequest"):
        assert read(orders.GitlabDiff, {word: json.dumps(between)}) == difference
    snapshot = {"GetSnapshotRequest": json.dumps({"repository": CAMEL})}
    assert read(orders.GitlabSnapshot, snapshot) == orders.Snapshot(repository=NAME)


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
    found = read(orders.GitlabArchive, said)
    assert (found.format, found.prefix, found.cache) == (form, "x-main/", False)
    assert found.file_name == f"x-main.{form}"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (orders.GitlabDiff, {}),
        (orders.GitlabDiff, {"RawDiffRequest": "{"}),
        (orders.GitlabSnapshot, {"GetSnapshotRequest": "[]"}),
        (orders.GitlabArchive, {"GitalyRepository": SNAKE, "CommitId": LEFT}),
        (
            orders.GitlabArchive,
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
    "names",
    [
        *({"prefix": "/x"}, {"prefix": "a/../../b"}, {"prefix": ".."}, {"prefix": "a\nb"}),
        *({"path": "--output=x"}, {"path": ":(glob)*"}, {"path": "../x"}, {"path": "/etc"}),
        {"prefix": "x" * 513},
    ],
)
def test_names_in_archives_stay_where_they_are(names: dict[str, str]) -> None:
    said = {"repository": "x", "commit": LEFT, **names}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps(said), type=orders.Archive)
