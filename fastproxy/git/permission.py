"""The backend's answer to "may this client fetch, or push": strict JSON to a GitPermission.

    {"repository": "group/project.git", "allow": ["fetch", "push"], "user": "jane",
     "config": {"receive.maxInputSize": "104857600"}}

`repository` and `allow` must be there. GitLab's words for the same are in GitlabPermission.
"""

import re
from typing import Any, Final, Literal, TypeVar

import msgspec

from fastproxy.errors import BadAuthorizeAnswer
from fastproxy.git.command import Settings

MAX_SETTINGS: Final = 64
_MAX_VALUE: Final = 4096
# What decides about refs, sizes and packs, and nothing that names a program or a file to write.
_SETTING: Final = re.compile(r"(?:receive|transfer|uploadpack|pack|lsrefs)\.[A-Za-z0-9.-]{1,100}")
_FORBIDDEN: Final = frozenset({"uploadpack.packobjectshook"})

Operation = Literal["fetch", "push"]


class GitPermission(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the backend allows. `repository` is beneath the root."""

    repository: str
    allow: tuple[Operation, ...]
    user: str = ""
    config: dict[str, str] = {}

    @property
    def settings(self) -> Settings:
        """For git."""
        return tuple(self.config.items())

    @property
    def variables(self) -> dict[str, str]:
        """For hooks."""
        return {"REMOTE_USER": self.user} if self.user else {}


class _Repository(msgspec.Struct, frozen=True, kw_only=True):
    relative_path: str


class GitlabPermission(msgspec.Struct, frozen=True, kw_only=True):
    """The same from GitLab, which answers only when the operation is allowed."""

    repository_of: _Repository = msgspec.field(name="Repository")
    gl_id: str = msgspec.field(name="GL_ID", default="")
    gl_username: str = msgspec.field(name="GL_USERNAME", default="")
    gl_repository: str = msgspec.field(name="GL_REPOSITORY", default="")
    options: tuple[str, ...] | None = msgspec.field(name="GitConfigOptions", default=())
    shows_all_refs: bool = msgspec.field(name="ShowAllRefs", default=False)

    allow = ("fetch", "push")

    @property
    def repository(self) -> str:
        """Beneath the root."""
        return self.repository_of.relative_path

    @property
    def settings(self) -> Settings:
        """For git."""
        pairs = tuple(
            (key, value) for key, _, value in (o.partition("=") for o in self.options or ())
        )
        return (*pairs, ("transfer.hideRefs", "!refs")) if self.shows_all_refs else pairs

    @property
    def variables(self) -> dict[str, str]:
        """For hooks."""
        named = {
            "GL_ID": self.gl_id,
            "GL_USERNAME": self.gl_username,
            "GL_REPOSITORY": self.gl_repository,
            "REMOTE_USER": self.gl_username,
        }
        return {"GL_PROTOCOL": "http", **{name: value for name, value in named.items() if value}}


T = TypeVar("T", GitPermission, GitlabPermission)
AnyGitPermission = GitPermission | GitlabPermission


def judged(permission: T) -> T:
    """`permission`, if it may be followed. Raises BadAuthorizeAnswer, which names the field."""
    if len(permission.settings) > MAX_SETTINGS:
        raise BadAuthorizeAnswer(f"config: over {MAX_SETTINGS} settings")
    for key, value in permission.settings:
        if not _SETTING.fullmatch(key) or key.lower() in _FORBIDDEN:
            raise BadAuthorizeAnswer(f"config: {key[:80]!r} is not for a backend to set")
        _judge_text("config", value)
    for name, value in permission.variables.items():
        _judge_text(name, value)
    return permission


def _judge_text(field: str, value: Any) -> None:
    if len(value) > _MAX_VALUE or not value.isprintable():
        raise BadAuthorizeAnswer(f"{field}: too long or with control characters")
