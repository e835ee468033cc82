"""The orders of orders.py in GitLab's words.

What its Ruby wrote by protobuf's `to_json` is in camel case, and a text in itself.
"""

from typing import Any, Final, TypeVar

import msgspec

from fastproxy.errors import BadOrder
from fastproxy.git.gitaly import archive_request
from fastproxy.git.orders import Archive, Blob, Difference, Format, Id, Snapshot

T = TypeVar("T")


class _Repository(msgspec.Struct, frozen=True):
    relative_path: str = ""
    relativePath: str = ""  # noqa: N815 - GitLab's spelling

    @property
    def name(self) -> str:
        return self.relative_path or self.relativePath


class _BlobRequest(msgspec.Struct, frozen=True):
    repository: _Repository
    oid: Id


class GitlabBlob(msgspec.Struct, frozen=True):
    """git-blob."""

    request: _BlobRequest = msgspec.field(name="GetBlobRequest")

    def order(self) -> Blob:
        """As ours."""
        return Blob(repository=self.request.repository.name, oid=self.request.oid)


class _DiffRequest(msgspec.Struct, frozen=True, rename="camel"):
    repository: _Repository
    left_commit_id: Id
    right_commit_id: Id


class GitlabDiff(msgspec.Struct, frozen=True):
    """git-diff and git-format-patch."""

    diff: str = msgspec.field(name="RawDiffRequest", default="")
    patch: str = msgspec.field(name="RawPatchRequest", default="")

    def order(self) -> Difference:
        """As ours. Raises BadOrder."""
        request = _inner(self.diff or self.patch, _DiffRequest)
        left, right = request.left_commit_id, request.right_commit_id
        return Difference(repository=request.repository.name, left=left, right=right)


class _SnapshotRequest(msgspec.Struct, frozen=True):
    repository: _Repository


class GitlabSnapshot(msgspec.Struct, frozen=True):
    """git-snapshot."""

    request: str = msgspec.field(name="GetSnapshotRequest")

    def order(self) -> Snapshot:
        """As ours. Raises BadOrder."""
        return Snapshot(repository=_inner(self.request, _SnapshotRequest).repository.name)


class GitlabArchive(msgspec.Struct, frozen=True):
    """git-archive: what is wanted is told in a message for Gitaly, or once was beside it; the
    format is that of the name in `ArchivePath` then."""

    message: str = msgspec.field(name="GetArchiveRequest", default="")
    repository: _Repository = msgspec.field(name="GitalyRepository", default=_Repository())
    commit: str = msgspec.field(name="CommitId", default="")
    prefix: str = msgspec.field(name="ArchivePrefix", default="")
    archive: str = msgspec.field(name="ArchivePath", default="")
    is_uncached: bool = msgspec.field(name="DisableCache", default=False)

    def order(self) -> Archive:
        """As ours. Raises BadOrder."""
        told = archive_request(self.message) if self.message else self._told()
        told["prefix"] = f"{told['prefix'].rstrip('/')}/" if told["prefix"] else ""
        try:
            return msgspec.convert({**told, "cache": not self.is_uncached}, Archive)
        except msgspec.ValidationError as error:
            raise BadOrder(str(error)) from error

    def _told(self) -> dict[str, Any]:
        return {
            "repository": self.repository.name,
            "commit": self.commit,
            "prefix": self.prefix,
            "format": _format_of(self.archive),
        }


_ENDINGS: Final[tuple[tuple[tuple[str, ...], Format], ...]] = (
    ((".tar.gz", ".tgz", ".gz"), "tar.gz"),
    ((".tar.bz2", ".tbz", ".tbz2", ".tb2", ".bz2"), "tar.bz2"),
    ((".tar",), "tar"),
    ((".zip",), "zip"),
)


def _format_of(name: str) -> Format:
    for endings, format_ in _ENDINGS:
        if name.endswith(endings):
            return format_
    raise BadOrder("an archive of no known format")


def _inner(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise BadOrder(f"{kind.__name__}: {error}") from error
