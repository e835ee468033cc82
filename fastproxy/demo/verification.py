"""What a backend checks before it believes that a request comes from fastproxy (docs/protocol.md).

Written as a backend would write it: PyJWT, the shared secret and nothing of fastproxy.
"""

import hashlib
import hmac
import os
import time
from pathlib import Path
from typing import Any, Protocol

import jwt


class Untrusted(Exception):
    """The request does not come from fastproxy, or not for this purpose."""


class Replays(Protocol):
    """What all processes of a backend know of spent tokens."""

    def spend(self, jti: str, exp: int) -> bool:
        """Whether this is the first time; remembered until `exp`. In Redis: SET jti 1 NX EXAT."""
        ...


def verify(
    token: str, secret: bytes, audience: str, request: tuple[str, str], replays: Replays
) -> dict[str, Any]:
    """The claims of `token` for `request`, a method and a decoded path. Raises Untrusted."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            issuer="fastproxy",
            audience=audience,
            options={"require": ["iss", "aud", "iat", "exp", "jti"]},
        )
    except jwt.InvalidTokenError as error:
        raise Untrusted(str(error)) from None
    if (claims.get("method"), claims.get("path")) != request:
        raise Untrusted("a token for another request")
    if not replays.spend(claims["jti"], claims["exp"]):
        raise Untrusted("a token that was used before")
    return claims


def verify_body(claims: dict[str, Any], body: bytes) -> None:
    """Raises Untrusted when the report is not the one that was signed."""
    digest = hashlib.sha256(body).hexdigest()
    if not hmac.compare_digest(str(claims.get("body_sha256")), digest):
        raise Untrusted("a token for another body")


class ReplayFolder:
    """Replays as files, one for each token: enough for the processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def spend(self, jti: str, exp: int) -> bool:
        """See Replays."""
        self._forget()
        name = hashlib.sha256(jti.encode()).hexdigest()
        try:
            os.close(os.open(self._folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        os.utime(self._folder / name, (exp, exp))
        return True

    def _forget(self) -> None:
        """Expired tokens are refused for that, so there is no need to remember them."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    # a minute late: the file gets its time just after it is made
                    if max(entry.stat().st_mtime, entry.stat().st_ctime) + 60 < time.time():
                        os.unlink(entry)
                except FileNotFoundError:  # another process was quicker
                    continue
