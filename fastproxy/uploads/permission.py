"""Ask the backend whether an upload may happen."""

from dataclasses import dataclass
from typing import Final

from fastproxy import claims, protocol
from fastproxy.claims import Signer
from fastproxy.config.schema import UploadRoute
from fastproxy.errors import BadAuthorizeAnswer, StaleConnection
from fastproxy.message import Headers
from fastproxy.uploads.answer import CONTENT_TYPE, MAX_ANSWER_BYTES, Permission, read_permission
from fastproxy.upstream.client import Answer, Call, perform
from fastproxy.upstream.connection import UpstreamConnection
from fastproxy.upstream.pool import Pool
from fastproxy.wire.head import METHOD_OVERRIDES

# What describes the body says nothing of a request without one; overrides would turn its meaning.
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


@dataclass(frozen=True, slots=True)
class Question:
    """The client's request, as far as it matters. `path` is the decoded, normalised one."""

    method: bytes
    target: bytes
    path: str
    host: bytes
    headers: Headers
    forwarded: bytes  # X-Forwarded-* and X-Request-Id lines
    length: int | None
    content_type: str


def without_body_fields(headers: Headers) -> Headers:
    """`headers` without those that describe the body we have taken off, and method overrides."""
    return [field for field in headers if field[0].lower() not in _BODY_FIELDS]


def authorize_target(target: bytes, suffix: str) -> bytes:
    """The client's target with `suffix` behind its path."""
    path, mark, query = target.partition(b"?")
    return path.rstrip(b"/") + suffix.encode("ascii") + mark + query


async def ask(
    question: Question,
    route: UploadRoute,
    pool: Pool,
    signer: Signer,
    timeout_s: float,
    over: UpstreamConnection | None = None,
) -> Permission | Answer:
    """The permission, or the backend's refusal to be passed on unchanged; `over` is of the pool.

    Asking changes nothing at the backend, so a dead kept connection is no reason to give up; but
    the second question is signed anew, for the backend may have seen the first one's nonce.
    Raises BackendFault, and BadAuthorizeAnswer for a permission that must not be followed.
    """
    try:
        answer = await perform(pool, _call(question, route, signer, timeout_s), over=over)
    except StaleConnection:
        answer = await perform(pool, _call(question, route, signer, timeout_s), fresh=True)
    content_type = (answer.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if content_type != CONTENT_TYPE:
        return answer
    if answer.status != 200:
        raise BadAuthorizeAnswer(f"a permission with status {answer.status}")
    return read_permission(answer.body, route)


def _call(question: Question, route: UploadRoute, signer: Signer, timeout_s: float) -> Call:
    token = signer.sign(
        protocol.AUTHORIZE,
        question.method,
        question.path,
        length=question.length,
        content_type=question.content_type,
    )
    fields = without_body_fields(question.headers)
    return Call(
        question.method.decode("ascii"),
        authorize_target(question.target, route.authorize_suffix),
        question.host,
        [field for field in fields if field[0].lower() != b"accept-encoding"],
        question.forwarded + claims.AUTHORIZE_HEADER + b": " + token + b"\r\n",
        timeout_s=timeout_s,
        max_answer=MAX_ANSWER_BYTES,
    )
