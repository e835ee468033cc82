"""What a backend may order to be sent out of a repository, as values: judged, nothing is run here.

Every order names its `repository` beneath the root. Nothing of an order becomes an option of a
program, or a path outside of the repository. Ids are those of objects in full, so an answer never
changes.
"""

import re
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from fastproxy.errors import BadOrder
from fastproxy.git.gitaly import archive_fields

Id = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})\Z")]
T = TypeVar("T")

Format = Literal["tar", "tar.gz", "tar.bz2", "zip"]

_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{0,512}")


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """One file's content, by its id."""

    repository: str
    oid: Id


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """From one commit to another: for a diff, or as patches."""

    repository: str
    left: Id
    right: Id


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole repository."""

    repository: str


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a commit, or of what is at `path` in it, each name with `prefix` before it."""

    repository: str
    commit: Id
    format: Format = "tar.gz"
    prefix: str = ""
    path: str = ""
    cache: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec makes a ValidationError."""
        for name in (self.prefix, self.path):
            if not _NAME.fullmatch(name) or name.startswith("/") or ".." in name.split("/"):
                raise ValueError("prefix and path are relative, without control characters")
        if self.path.startswith(("-", ":")):
            raise ValueError("a path that could be an option, or a pattern")

    @property
    def file_name(self) -> str:
        """What it may be called."""
        stem = self.prefix.strip("/").replace("/", "-") or self.commit[:12]
        return f"{stem}.{self.format}"


# GitLab's words. What Ruby wrote by protobuf's `to_json` is in camel case, and a text in itself.


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
        if self.message:
            repository, commit, prefix, format_, path = archive_fields(self.message)
        else:
            repository, commit, prefix, path = self.repository.name, self.commit, self.prefix, ""
            format_ = _format_of(self.archive)
        told = {
            "repository": repository,
            "commit": commit,
            "prefix": f"{prefix.rstrip('/')}/" if prefix else "",
            "format": format_,
            "path": "" if path in (".", "/") else path,
            "cache": not self.is_uncached,
        }
        try:
            return msgspec.convert(told, Archive)
        except msgspec.ValidationError as error:
            raise BadOrder(str(error)) from error


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
