"""A GitLab of our own: it believes what Rails believes, and remembers every request.

The order of its checks is that of GitLab's: `verify_api_request!` and `require_gitlab_workhorse!`
at every /authorize and every finalize, the multipart middleware before the latter.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt

from tests.support.monolith import Asked, Monolith, Said, Script

JSON_TYPE = "application/vnd.gitlab-workhorse+json"
QUESTIONS = ("/authorize", "/internal/workhorse/authorize_upload")
TOKEN_LIFE_S = 300.0  # API_REQUEST_JWT_VALIDITY


class NotBelieved(Exception):
    """Rails' answer to who is not Workhorse."""


@dataclass
class Received:
    """A file as a controller gets it. `values`: what Workhorse signed of it."""

    field: str
    values: dict[str, str]
    content: bytes | None  # of a local file, read while the request runs

    @property
    def remote_id(self) -> str:
        return self.values["remote_id"]


def permit(**answer: Any) -> Said:
    """A permission."""
    return Said(200, json.dumps(answer).encode(), [("Content-Type", f"{JSON_TYPE}; charset=utf-8")])


def form_of(asked: Asked) -> dict[str, str]:
    """The fields of a form, of either kind."""
    content_type = asked.field("Content-Type") or ""
    if content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(asked.body.decode(), keep_blank_values=True, strict_parsing=True))
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    parts = message_from_bytes(head + asked.body, policy=HTTP).iter_parts()
    return {str(part.get_param("name", header="content-disposition")): part.get_content()
            for part in parts}  # fmt: skip


class Rails(Monolith):
    """`authorize` says what may be uploaded where to, `finalize` what becomes of the files."""

    def __init__(self, secret: bytes, allowed: Path) -> None:
        """`allowed`: files elsewhere are nobody's uploads."""
        super().__init__(secret)
        self.allowed = allowed
        self.received: list[Received] = []
        self.authorize: Script = lambda asked: permit()
        self.finalize: Script = lambda asked: Said(201, b"created")

    def _script(self, asked: Asked) -> Script:
        return self._answer

    def _answer(self, asked: Asked) -> Said:
        try:
            files = [*self._files(asked)]
            if not files and not asked.path.endswith(QUESTIONS):
                return self.report(asked)  # a plain request
            self._require_workhorse(asked)
        except NotBelieved as error:
            return Said(403, str(error).encode())
        if not files:
            return self.authorize(asked)
        self.received += files
        return self.finalize(asked)

    def _require_workhorse(self, asked: Asked) -> None:
        issued_at = self._decoded(asked.field("Gitlab-Workhorse-Api-Request")).get("iat", 0)
        if not 0 <= time.time() - issued_at < TOKEN_LIFE_S:
            raise NotBelieved("stale")
        if not asked.field("Gitlab-Workhorse"):
            raise NotBelieved("Request should be executed via GitLab Workhorse")

    def _files(self, asked: Asked) -> Iterator[Received]:
        """Gitlab::Middleware::Multipart: of all fields only those that are signed count."""
        if not (token := asked.field("Gitlab-Workhorse-Multipart-Fields")):
            return
        form = form_of(asked)
        for field in self._decoded(token)["rewritten_fields"]:
            values = self._decoded(form.get(f"{field}.gitlab-workhorse-upload"))["upload"]
            assert all(isinstance(value, str) for value in values.values()), values
            yield Received(field, values, self._content(values))

    def _content(self, values: dict[str, str]) -> bytes | None:
        if values["remote_id"]:
            return None
        path = Path(os.path.realpath(values["path"]))
        if not path.is_relative_to(self.allowed) or not path.is_file():
            raise NotBelieved(f"insecure path: {path}")
        return path.read_bytes()

    def _decoded(self, token: str | None) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token or "", self.secret, algorithms=["HS256"], issuer="gitlab-workhorse",
                options={"require": ["iss"]},
            )  # fmt: skip
        except jwt.InvalidTokenError as error:
            raise NotBelieved(str(error)) from error
        return claims

    def forget(self) -> None:
        super().forget()
        self.received.clear()
        self.authorize = lambda asked: permit()
        self.finalize = lambda asked: Said(201, b"created")
        self.report = lambda asked: Said(200, b"plain\n")


@contextmanager
def rails(secret: bytes, allowed: Path) -> Iterator[Rails]:
    """A Rails that is gone when the block ends."""
    server = Rails(secret, allowed)
    try:
        server.forget()
        yield server
    finally:
        server.close()
