"""Signed claims: how a backend knows that a request comes from fastproxy, and what it is good for.

A claim is bound to one purpose (`aud`), one method and path, a body hash where there is a body, and
a short time; `jti` lets the backend refuse a replay. Pass-through requests carry none.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import jwt

from fastproxy import protocol

AUTHORIZE_HEADER: Final = protocol.AUTHORIZE_HEADER.encode()
UPLOAD_HEADER: Final = protocol.UPLOAD_HEADER.encode()


class Signer:
    """Signs with the shared secret (RFC 7519, HS256 only)."""

    def __init__(
        self, secret: bytes, issuer: str, ttl_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._issuer = issuer
        self._ttl_s = ttl_s
        self._clock = clock

    def sign(self, purpose: str, method: bytes, path: str, **claims: Any) -> bytes:
        """A token for one request. `path` is the decoded, normalised one."""
        now = int(self._clock())
        return jwt.encode(
            {
                "iss": self._issuer,
                "aud": purpose,
                "iat": now,
                "exp": now + int(self._ttl_s),
                "jti": secrets.token_urlsafe(18),
                "method": method.decode("ascii"),
                "path": path,
                **claims,
            },
            self._secret,
            algorithm=protocol.ALGORITHM,
        ).encode("ascii")
