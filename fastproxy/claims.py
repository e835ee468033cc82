"""Signed claims: how a backend knows that a request comes from fastproxy, and what it is good for.

In the native dialect a claim is bound to one purpose (`aud`), one method and path, a body hash
where there is a body, and a short time; `jti` lets the backend refuse a replay. Other dialects bind
as far as they have words for it. Pass-through requests carry none.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt

from fastproxy import __version__, protocol
from fastproxy.protocol import NATIVE, Dialect


class Signer:
    """Signs with the secret shared with a backend (RFC 7519, HS256 only), in its dialect."""

    def __init__(
        self,
        secret: bytes,
        issuer: str,
        ttl_s: float,
        clock: Callable[[], float] = time.time,
        dialect: Dialect = NATIVE,
    ) -> None:
        self.dialect = dialect
        self._secret = secret
        self._issuer = issuer
        self._ttl_s = ttl_s
        self._clock = clock

    def sign(self, purpose: str, method: bytes, path: str, **claims: Any) -> bytes:
        """A token for one request. `path` is the decoded, normalised one."""
        now = int(self._clock())
        bindings = {
            "iss": self._issuer,
            "aud": purpose,
            "iat": now,
            "exp": now + int(self._ttl_s),
            "jti": secrets.token_urlsafe(18),
            "method": method.decode("ascii"),
            "path": path,
        }
        said = {name: bindings[name] for name in bindings if name in self.dialect.bindings}
        token = jwt.encode({**said, **claims}, self._secret, algorithm=protocol.ALGORITHM)
        return token.encode("ascii")

    def question_lines(self, method: bytes, path: str, **claims: Any) -> bytes:
        """The field lines by which a backend knows a question of ours."""
        token = self.sign(protocol.AUTHORIZE, method, path, **claims)
        line = b"%b: %b\r\n" % (self.dialect.question_field.encode(), token)
        return line + version_line(self.dialect)


def version_line(dialect: Dialect) -> bytes:
    """The field line that says who asks, tells or passes on; empty in a dialect without it."""
    name = dialect.version_field
    return f"{name}: fastproxy-{__version__}\r\n".encode() if name else b""
