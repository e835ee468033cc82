"""The application of the storm: permits every upload, and checks what it is told of it.

    python -m benchmarks.storm.backend PORT

Uploads come as PUT /uploads/NUMBER-SIZE and are to be stored under storm/NUMBER-SIZE. A report of
another key or size is answered with 409, so that the client hears of it.
"""

import asyncio
import json
import sys
from typing import Final

import uvloop

from benchmarks.pattern import named
from benchmarks.serving import Request, Served

_PERMISSION: Final = b"Content-Type: application/vnd.fastproxy.authorize+json\r\n"
_REPORT: Final = b"application/vnd.fastproxy.upload+json"
PREFIX: Final = "storm/"


class Application(Served):
    """One connection from the proxy."""

    def __init__(self) -> None:
        super().__init__()
        self._request: Request
        self._body = b""

    def on_request(self, request: Request) -> None:
        self._request = request
        self._body = b""

    def on_body(self, data: memoryview) -> None:
        self._body += bytes(data)

    def on_end(self) -> None:
        target = self._request.target.decode()
        if target.endswith("/authorize"):
            key = PREFIX + target.split("/")[-2]
            self.answer(200, _PERMISSION, json.dumps({"key": key}).encode())
        elif self._request.field(b"content-type") == _REPORT:
            self.answer(201 if self._is_true(target) else 409, body=b"{}")
        else:
            self.answer(200, body=b"Hello world\n")

    def _is_true(self, target: str) -> bool:
        told = json.loads(self._body)["upload"]
        body = named(target)
        return body is not None and (told["key"], told["size"]) == (PREFIX + body.name, body.size)


async def serve(port: int) -> None:
    """Until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Application, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
