"""The example applications, with real requests of unknown length."""

import asyncio

import aiohttp
import httpx
import pytest
from aiohttp import web

from examples import aiohttp_upload, fastapi_upload
from examples.part_sink import FolderSink

MIB = 1 << 20
BODY = bytes(range(256)) * 4096 * 19 + b"the tail"  # 19 MiB and a bit: three parts


class MemorySink:
    def __init__(self):
        self.parts = {}

    async def put(self, name, number, views):
        await asyncio.sleep(0)
        self.parts[number] = b"".join(views)

    def joined(self):
        return b"".join(self.parts[number] for number in sorted(self.parts))

    def sizes(self):
        return [len(self.parts[number]) for number in sorted(self.parts)]


async def pieces(body):
    for start in range(0, len(body), 1_000_001):
        yield body[start : start + 1_000_001]


@pytest.mark.parametrize(
    ("body", "sizes"), [(BODY, [8 * MIB, 8 * MIB, 3 * MIB + 8]), (b"one", [3]), (b"", [0])]
)
def test_the_fastapi_example_stores_a_body_of_unknown_length(body, sizes):
    sink = MemorySink()
    fastapi_upload.app.state.sink = sink

    async def scenario():
        transport = httpx.ASGITransport(fastapi_upload.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.put("/uploads/name", content=pieces(body))

    answer = asyncio.run(scenario())
    assert answer.json() == {"size": len(body), "parts": len(sizes)}
    assert sink.sizes() == sizes
    assert sink.joined() == body
    assert fastapi_upload.memory.pool.used_count == 0


@pytest.mark.parametrize(
    ("body", "sizes"), [(BODY, [8 * MIB, 8 * MIB, 3 * MIB + 8]), (b"one", [3]), (b"", [0])]
)
def test_the_aiohttp_example_stores_a_chunked_body_over_a_socket(body, sizes):
    sink = MemorySink()
    app = aiohttp_upload.application(sink, budget=16 * MIB)

    async def scenario():
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.put(f"http://{host}:{port}/uploads/name", data=pieces(body)) as answer,
            ):
                return await answer.json()
        finally:
            await runner.cleanup()

    assert asyncio.run(scenario()) == {"parts": len(sizes)}
    assert sink.sizes() == sizes
    assert sink.joined() == body
    assert app[aiohttp_upload.MEMORY].pool.used_count == 0
    assert app[aiohttp_upload.MEMORY].pool.peak_count <= 16 * MIB // 65536


def test_the_folder_sink_writes_one_file_per_part_and_stays_in_its_folder(tmp_path):
    sink = FolderSink(tmp_path / "uploads")
    asyncio.run(sink.put("../../name", 7, [memoryview(b"ab"), memoryview(b"c")]))
    assert (tmp_path / "uploads" / "name.00007").read_bytes() == b"abc"
