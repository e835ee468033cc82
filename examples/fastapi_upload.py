"""A FastAPI application that streams request bodies of unknown length into parts.

uvicorn examples.fastapi_upload:app
"""

from pathlib import Path

from fastapi import FastAPI, Request

from examples.part_sink import FolderSink
from fastproxy.chunker import PartMemory

app = FastAPI()
app.state.sink = FolderSink(Path("uploads"))  # anything with an async put(name, number, views)
memory = PartMemory(256 << 20, max_wait=30)  # for all uploads of this process together


@app.put("/uploads/{name}")
async def upload(name: str, request: Request) -> dict[str, int]:
    size = 0
    async for part in memory.aiter_parts(request.stream(), part_size=8 << 20):
        with part:
            await request.app.state.sink.put(name, part.number, part.views)
        size += part.size
    return {"size": size, "parts": part.number}
