"""A client of the demo: waits for the page, uploads a file."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from typing import Final

_PATIENCE_S: Final = 30.0
_PIECE: Final = 1 << 16


def await_page(port: int, check: Callable[[], None]) -> None:
    """Wait until the application answers through the proxy; `check` may end the waiting.

    Raises TimeoutError.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not _has_page(port):
        check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer on port {port} within {_PATIENCE_S:g} s")
        time.sleep(0.05)


def _has_page(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def upload(port: int, name: str, size: int) -> str:
    """Send `size` random bytes with chunked coding; the answer, judged.

    Raises OSError, HTTPException, and ValueError when the answer is not what was sent.
    """
    digest = hashlib.sha256()

    def body() -> Iterator[bytes]:
        for start in range(0, size, _PIECE):
            piece = os.urandom(min(_PIECE, size - start))
            digest.update(piece)
            yield piece

    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("PUT", f"/uploads/{name}", body(), encode_chunked=True)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    told = json.loads(text)["told"] if response.status == 201 else {}
    if (told.get("size"), told.get("hashes")) != (size, {"sha256": digest.hexdigest()}):
        raise ValueError(f"{response.status}, not what was uploaded: {text}")
    return text
