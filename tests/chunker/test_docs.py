"""docs/chunker.md shows code that runs."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from fastproxy.chunker import Chunker, Part, SlabPool, iter_parts

ROOT = Path(__file__).parents[2]
FASTAPI, SYNC, PROTOCOL = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "chunker.md").read_text(), re.DOTALL
)
BODY = b"0123456789abcdef" * 1_200_000  # 18 MiB and a bit


def test_the_fastapi_snippet_is_the_tested_example():
    assert FASTAPI in (ROOT / "examples" / "fastapi_upload.py").read_text()


def test_the_sync_snippet_runs():
    stored = {}
    source = (BODY[start : start + 99_999] for start in range(0, len(BODY), 99_999))
    names = {
        "SlabPool": SlabPool,
        "iter_parts": iter_parts,
        "source": source,
        "store": lambda number, views: stored.update({number: b"".join(views)}),
    }
    exec(SYNC, names)
    assert list(stored) == [1, 2, 3]
    assert b"".join(stored.values()) == BODY


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_protocol_snippet_runs_on_a_socket(run):
    names = {
        "asyncio": asyncio,
        "Callable": Callable,
        "Chunker": Chunker,
        "Part": Part,
        "SlabPool": SlabPool,
    }
    exec(PROTOCOL, names)
    pool, got = SlabPool(32 << 20), []

    async def scenario():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        done = loop.create_future()

        def on_part(part):
            with part:
                got.append(part.tobytes())
            if part.number == 3:
                done.set_result(None)

        transport, _ = await loop.create_connection(
            lambda: names["Receiver"](pool, on_part), sock=ours
        )
        _, writer = await asyncio.open_connection(sock=theirs)
        writer.write(BODY)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(30):
            await done
        writer.close()
        transport.close()

    run(scenario())
    assert [len(part) for part in got] == [8 << 20, 8 << 20, len(BODY) - (16 << 20)]
    assert b"".join(got) == BODY
