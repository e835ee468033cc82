"""Archives for the tests, and what reads them by ranges as a store would."""

import asyncio
import functools
import io
import zipfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ParamSpec

P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test, or one example of it, in a loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **named: P.kwargs) -> None:
        asyncio.run(test(*args, **named))

    return run


def archive(
    members: dict[str, bytes],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
    before: bytes = b"",
) -> bytes:
    """`before`: what a self-extractor puts in front."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
        made.comment = comment
    return before + file.getvalue()


@dataclass
class Ranges:
    """Reads `content`; asserts that only what exists is asked for."""

    content: bytes
    read_bytes: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def read(self, start: int, length: int) -> bytes:
        assert start >= 0
        assert length >= 0
        assert start + length <= len(self.content), "beyond the end"
        self.asked.append((start, length))
        self.read_bytes += length
        return self.content[start : start + length]
