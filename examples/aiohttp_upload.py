"""An aiohttp application that streams request bodies of unknown length into parts.

The parts of one upload are stored two at a time, while the next one fills.

    python -m examples.aiohttp_upload
"""

import asyncio
from pathlib import Path

from aiohttp import web

from examples.part_sink import FolderSink, PartSink
from fastproxy.chunker import Part, PartMemory

SINK = web.AppKey("sink", PartSink)
MEMORY = web.AppKey("memory", PartMemory)


async def upload(request: web.Request) -> web.Response:
    name, free_hands = request.match_info["name"], asyncio.Semaphore(2)

    async def store(part: Part) -> None:
        with part:
            await request.app[SINK].put(name, part.number, part.views)
        free_hands.release()

    async with asyncio.TaskGroup() as tasks:
        async for part in request.app[MEMORY].aiter_parts(request.content.iter_any(), 8 << 20):
            await free_hands.acquire()
            tasks.create_task(store(part))
    return web.json_response({"parts": part.number})


def application(sink: PartSink, budget: int = 256 << 20) -> web.Application:
    app = web.Application()
    app[SINK], app[MEMORY] = sink, PartMemory(budget)
    app.router.add_put("/uploads/{name}", upload)
    return app


if __name__ == "__main__":
    web.run_app(application(FolderSink(Path("uploads"))), port=8080)
