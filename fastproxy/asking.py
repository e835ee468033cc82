"""Ask a backend for permission before anything is done with a request.

Made once for a route, by its factory, and used for every request of it:

    class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        repository: str

    asker = Asker(target.pool, signer, "/authorize", target.header_timeout_s, strict(Welcome))
    ...
    answer = await asker.ask(question_of(exchange))
    if isinstance(answer, Answer):  # a refusal: it is the client's, unchanged
        refuse(exchange, answer)
        return

What `ask` raises is a BackendFault: the client is told by its status, the log by its kind. What the
permission means is for its type, or for whoever reads it, to judge: raise BadAuthorizeAnswer.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from fastproxy.claims import Signer
from fastproxy.errors import BadAuthorizeAnswer, StaleConnection
from fastproxy.message import Headers
from fastproxy.upstream.client import Answer, Call, perform
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.lines import Line
from fastproxy.upstream.pool import Pool
from fastproxy.wire.head import METHOD_OVERRIDES

T = TypeVar("T")

log = logging.getLogger("fastproxy")

MAX_ANSWER_BYTES: Final = 8 << 20  # 10,000 part URLs, each with a session token's signature

# What describes the body says nothing of a request without one; overrides would turn its meaning.
is_token: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z").match  # RFC 9110 section 5.6.2
_is_value: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z").match
_BODY_FIELDS: Final = frozenset(
    {
        b"content-type",
        b"content-encoding",
        b"content-disposition",
        b"content-md5",
        b"content-digest",
        b"repr-digest",
        b"content-range",
        *METHOD_OVERRIDES,
    }
)


class Question(Struct, frozen=True):
    """The client's request, as far as it matters. `path` is the decoded, normalised one."""

    method: bytes
    target: bytes
    path: str
    host: bytes
    headers: Headers
    forwarded: bytes  # X-Forwarded-* and X-Request-Id lines
    length: int | None
    content_type: str
    more: dict[str, Any] = field(default_factory=dict)  # claims of this kind of request alone


def without_body_fields(headers: Headers) -> Headers:
    """`headers` without those that describe the body we have taken off, and method overrides."""
    return [field for field in headers if field[0].lower() not in _BODY_FIELDS]


def authorize_target(target: bytes, suffix: str) -> bytes:
    """The client's target with `suffix` behind its path; unchanged without one."""
    if not suffix:
        return target
    path, mark, query = target.partition(b"?")
    return path.rstrip(b"/") + suffix.encode("ascii") + mark + query


def field_of(key: str, name: str, value: str) -> tuple[bytes, bytes]:
    """A header field that a permission has under `key`. Raises BadAuthorizeAnswer: it is none."""
    if not is_token(name) or not _is_value(value):
        raise BadAuthorizeAnswer(f"{key}: {name[:64]!r} is not valid")
    return name.encode("ascii"), value.encode("latin-1")


def strict(kind: type[T]) -> Callable[[bytes], T]:
    """JSON to a msgspec Struct, as strict as `kind` is; raises BadAuthorizeAnswer for any other."""
    decode = msgspec.json.Decoder(kind).decode

    def read(body: bytes) -> T:
        try:
            return decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadAuthorizeAnswer(str(error)) from None

    return read


class Asker(Struct, Generic[T], frozen=True):
    """How the requests of one route are asked for. `suffix`: behind their paths; may be empty.

    `fixed_path`: all are asked for there, by POST, in a dialect that binds no token to a path.
    `read`: a permission's body to what it says; see `strict`. `timeout_s` for the answer's head,
    and once more for the rest of it; `max_answer` in bytes.
    """

    pool: Pool
    signer: Signer  # its dialect is the backend's
    suffix: str
    timeout_s: float
    read: Callable[[bytes], T]
    max_answer: int = MAX_ANSWER_BYTES
    fixed_path: str = ""

    async def ask(self, question: Question, over: UpstreamConnection | None = None) -> T | Answer:
        """The permission, or the backend's refusal to be passed on unchanged.

        `over`: a connection that was taken of the pool already.

        Asking changes nothing at the backend, so a dead kept connection is no reason to give up;
        but the second question is signed anew, for the backend may have seen the first one's nonce.
        Raises BackendFault, and BadAuthorizeAnswer for a permission that must not be followed.
        """
        try:
            answer = await perform(self.pool, self._call(question), over=over)
        except StaleConnection:
            answer = await perform(self.pool, self._call(question), fresh=True)
        content_type = (answer.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        wanted = self.signer.dialect.permission_type
        if content_type != wanted.encode():
            if answer.status < 300:  # a page to log in, or a backend that does not know its part
                asked = f"{question.method.decode('ascii')} {question.path}"
                text = "%s: answered %d, but not as %s, which is a refusal"
                log.info(text, asked, answer.status, wanted)
            return answer
        if answer.status != 200:
            raise BadAuthorizeAnswer(f"a permission with status {answer.status}")
        return self.read(answer.body)

    def _target(self, question: Question) -> bytes:
        if not self.fixed_path:
            return authorize_target(question.target, self.suffix)
        _, mark, query = question.target.partition(b"?")
        return self.fixed_path.encode("ascii") + mark + query

    def _call(self, question: Question) -> Call:
        said = {
            "length": question.length,
            "content_type": question.content_type,
            **question.more,
        }
        claims = {name: said[name] for name in said if name in self.signer.dialect.question_claims}
        fields = without_body_fields(question.headers)
        return Call(
            "POST" if self.fixed_path else question.method.decode("ascii"),
            self._target(question),
            question.host,
            [field for field in fields if field[0].lower() != b"accept-encoding"],
            question.forwarded
            + self.signer.question_lines(question.method, question.path, **claims),
            timeout_s=self.timeout_s,
            max_answer=self.max_answer,
            line=Line.QUESTIONS,
        )
