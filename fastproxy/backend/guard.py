"""What a backend verifies before it believes a request (docs/protocol.md says why).

In two steps, for a body should be read only when the token deserves it: `verify` judges the token,
`ask`, `file` and `form` judge the rest and spend the token.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import jwt

from fastproxy import protocol
from fastproxy.backend.form import UploadedForm, read_fields
from fastproxy.backend.refusal import Reason, Refused
from fastproxy.backend.replays import Replays
from fastproxy.backend.uploaded import Ask, UploadedFile

MAX_BODY: Final = 64 << 10  # bytes; a report has a few hundred, with the longest names 20 KiB
_LEEWAY_S: Final = 5.0
_KINDS: Final[dict[str, Any]] = {
    "iat": (int, float), "exp": (int, float), "jti": str, "method": str, "path": str,
}  # fmt: skip
# Time, issuer and audience are judged here, by one clock, and without what a JWT may be elsewhere
# (a list of audiences).
_OPTIONS: Final[Any] = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
}


def read_secret(path: str | Path) -> bytes:
    """The secret in a file, as `auth.secret_file` has it. Raises OSError."""
    return protocol.decode_secret(Path(path).read_bytes())


def announced_length(content_length: str | None, limit: int = MAX_BODY) -> int:
    """How many bytes to read of a report. Raises Refused when it is too long to be one."""
    if not content_length or not (content_length.isascii() and content_length.isdigit()):
        raise Refused(Reason.BODY, "a report has a Content-Length")
    if len(content_length) > 10 or int(content_length) > limit:
        raise Refused(Reason.BODY, f"a report has at most {limit} bytes")
    return int(content_length)


class Guard:
    """Judges what comes to the endpoints of a backend.

    `secrets`: one, or more while they are being changed (give the backend both, then fastproxy
    the new one, then the backend the new one alone). `suffix`: the route's `authorize_suffix`.
    `leeway_s`: seconds by which the clocks of fastproxy and the backend may differ.
    """

    def __init__(
        self,
        secrets: bytes | Sequence[bytes],
        replays: Replays,
        *,
        issuer: str = protocol.NATIVE.issuer,
        suffix: str = protocol.NATIVE.authorize_suffix,
        leeway_s: float = _LEEWAY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError without a secret, or for one of less than 32 bytes."""
        self._secrets = (secrets,) if isinstance(secrets, bytes) else tuple(secrets)
        if not self._secrets or min(map(len, self._secrets)) < protocol.MIN_SECRET:
            raise ValueError(f"a secret of at least {protocol.MIN_SECRET} bytes is needed")
        self._replays = replays
        self._issuer = issuer
        self.suffix = suffix
        self._leeway_s = leeway_s
        self._clock = clock

    def verify(self, purpose: str, method: str, path: str, token: str | None) -> dict[str, Any]:
        """The claims of a token for this request; nothing is read or spent yet.

        `path`: of this very request, decoded once. Raises Refused.
        """
        if not token:
            raise Refused(Reason.MISSING, "only fastproxy may send this request")
        claims = self._signed(token)
        for name, kind in _KINDS.items():
            if not isinstance(claims.get(name), kind) or isinstance(claims[name], bool):
                raise Refused(Reason.MALFORMED, f"the claim {name} is missing or of a wrong kind")
        if claims.get("iss") != self._issuer:
            raise Refused(Reason.ISSUER, "a token of another issuer")
        if claims.get("aud") != purpose:
            raise Refused(Reason.PURPOSE, "a token for another purpose")
        self._judge_time(claims)
        if (claims["method"], self._asked_path(purpose, claims["path"])) != (method, path):
            raise Refused(Reason.REQUEST, "a token for another request")
        return claims

    def ask(self, claims: dict[str, Any], max_size: int | None = None) -> Ask:
        """The question in verified claims; spends the token. `max_size` in bytes.

        Raises Refused.
        """
        self._spend(claims)
        ask = Ask.of_claims(claims)
        if max_size is not None and (ask.length or 0) > max_size:
            raise Refused(Reason.TOO_LARGE, f"at most {max_size} bytes")
        return ask

    def file(
        self, claims: dict[str, Any], body: bytes, max_size: int | None = None
    ) -> UploadedFile:
        """The file in verified claims that came with `body`; spends the token.

        `max_size` in bytes: what the permission said. Raises Refused.
        """
        self._spend_for(claims, body)
        return _sized(UploadedFile.of_claims(claims), max_size)

    def form(
        self, claims: dict[str, Any], body: bytes, max_size: int | None = None
    ) -> UploadedForm:
        """The form in verified claims (`protocol.FORM`) that came with `body`; spends the token.

        `max_size` in bytes of each file. Raises Refused.
        """
        self._spend_for(claims, body)
        suffix = f".{protocol.NATIVE.file_field}"
        texts, files = [], []
        for name, text in read_fields(body):
            if name.endswith(suffix):
                told = self.verify(protocol.FILE, claims["method"], claims["path"], text)
                file = _sized(UploadedFile.of_claims(told), max_size)
                files.append((name.removesuffix(suffix), file))
            else:
                texts.append((name, text))
        return UploadedForm(fields=tuple(texts), files=tuple(files))

    def _spend_for(self, claims: dict[str, Any], body: bytes) -> None:
        if claims.get("body_sha256") != protocol.body_hash(body):
            raise Refused(Reason.BODY, "a token for another body")
        self._spend(claims)

    def _signed(self, token: str) -> dict[str, Any]:
        for secret in self._secrets:
            try:
                return jwt.decode(token, secret, algorithms=[protocol.ALGORITHM], options=_OPTIONS)
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                continue
            # The head is read before the signature is known to be good: it may be anything.
            except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
                raise Refused(Reason.MALFORMED, "not a token") from error
        raise Refused(Reason.SIGNATURE, "not signed by fastproxy")

    def _judge_time(self, claims: dict[str, Any]) -> None:
        now = self._clock()
        if claims["exp"] + self._leeway_s <= now:
            raise Refused(Reason.EXPIRED, "the token has expired")
        if claims["iat"] - self._leeway_s > now:
            raise Refused(Reason.EARLY, "the token is from the future; are the clocks right?")

    def _asked_path(self, purpose: str, path: str) -> str:
        """Where a request about `path` goes: fastproxy puts the suffix in place of a last slash."""
        return path.rstrip("/") + self.suffix if purpose == protocol.AUTHORIZE else path

    def _spend(self, claims: dict[str, Any]) -> None:
        try:
            is_first = self._replays.spend(claims["jti"], claims["exp"] + self._leeway_s)
        except Exception as error:  # whatever a store raises: unknown must not mean unspent
            raise Refused(Reason.UNCERTAIN, "cannot tell whether the token was used") from error
        if not is_first:
            raise Refused(Reason.REPLAYED, "a token that was used before")


def _sized(file: UploadedFile, max_size: int | None) -> UploadedFile:
    if max_size is not None and file.size > max_size:
        raise Refused(Reason.TOO_LARGE, f"{file.size} bytes where {max_size} were allowed")
    return file
