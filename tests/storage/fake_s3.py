"""A small S3 over raw sockets that can be told to misbehave, request by request."""

import asyncio
import hashlib
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fastproxy.config import schema

BUCKET = "bucket"


@dataclass(frozen=True)
class Request:
    """What came in; `kind` is the S3 operation."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer. With `acts` the operation takes place all the same."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    acts: bool = False


@dataclass(frozen=True)
class Reset:
    """RST after so many bytes of the body; with `acts`, after the operation took place."""

    at: int = 0
    acts: bool = False


@dataclass(frozen=True)
class Stall:
    """Nothing is read or answered any more."""


def error(status: int, code: str, message: str = "") -> Reply:
    """An S3 error document."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Reply(status, body.encode())


Plan = Reply | Reset | Stall


class FakeS3:
    """`plans[kind]` are used up first, one a request; then it behaves."""

    def __init__(self) -> None:
        self.plans: dict[str, list[Plan]] = defaultdict(list)
        self.requests: list[Request] = []
        self.objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, bytes]]] = {}
        self.endpoint = ""

    def count(self, kind: str) -> int:
        """How many requests of that operation came."""
        return sum(request.kind == kind for request in self.requests)

    def url(self, key: str, query: str = "X-Amz-Signature=geheim") -> str:
        """A URL as if it were presigned."""
        return f"{self.endpoint}/{BUCKET}/{key}?{query}"

    def config(self, home: Path, **more: Any) -> schema.S3Store:
        """A store here; the file of its keys lies in `home`."""
        keys = home / "keys"
        keys.write_text("key")
        settings: dict[str, Any] = {
            "endpoint": self.endpoint, "access_key_file": str(keys), "secret_key_file": str(keys),
            **more,
        }  # fmt: skip
        return schema.S3Store(bucket=BUCKET, **settings)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeS3"]:
        tasks: set[asyncio.Task[None]] = set()

        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while await self._one(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head[:-4].split("\r\n")
        method, target, _ = line.split(" ")
        headers = {k.lower(): v.strip() for k, v in (one.split(":", 1) for one in fields)}
        parts = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        kind = _kind(method, query)
        plan = self.plans[kind].pop(0) if self.plans[kind] else None
        size = int(headers.get("content-length", 0))
        if isinstance(plan, Stall):
            self.requests.append(Request(kind, method, parts.path, query, headers, b""))
            await asyncio.Event().wait()
        if isinstance(plan, Reset) and not plan.acts:
            size = min(size, plan.at)
        body = await reader.readexactly(size)
        request = Request(kind, method, unquote(parts.path), query, headers, body)
        self.requests.append(request)
        reply = self._act(request) if plan is None or getattr(plan, "acts", False) else Reply()
        if isinstance(plan, Reset):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        reply = plan if isinstance(plan, Reply) else reply
        length = {"content-length": str(len(reply.body)), **reply.headers}
        writer.write(f"HTTP/1.1 {reply.status} X\r\n".encode())
        writer.write("".join(f"{k}: {v}\r\n" for k, v in length.items()).encode() + b"\r\n")
        writer.write(b"" if method == "HEAD" else reply.body)
        await writer.drain()
        return True

    def _act(self, request: Request) -> Reply:
        key = request.path.removeprefix(f"/{BUCKET}/")
        meta = {k: v for k, v in request.headers.items() if k.startswith("x-amz-meta-")}
        upload_id = request.query.get("uploadId", "")
        if upload_id and upload_id not in self.uploads:
            return error(404, "NoSuchUpload")
        match request.kind:
            case "put":
                self.objects[key] = (request.body, meta)
                return Reply(headers=_etag(request.body))
            case "create":
                upload_id = f"u{len(self.requests)}"
                self.uploads[upload_id] = (key, meta, {})
                return Reply(body=_xml("InitiateMultipartUploadResult", UploadId=upload_id))
            case "part":
                self.uploads[upload_id][2][int(request.query["partNumber"])] = request.body
                return Reply(headers=_etag(request.body))
            case "complete":
                key, meta, parts = self.uploads.pop(upload_id)
                self.objects[key] = (b"".join(parts[i] for i in sorted(parts)), meta)
                return Reply(body=_xml("CompleteMultipartUploadResult", ETag='"whole-1"'))
            case "abort":
                del self.uploads[upload_id]
                return Reply(204)
            case "delete":
                self.objects.pop(key, None)
                return Reply(204)
            case _:
                return self._read(key, request)

    def _read(self, key: str, request: Request) -> Reply:
        if key not in self.objects:
            return error(404, "NoSuchKey")
        data, meta = self.objects[key]
        if request.kind == "head":
            return Reply(headers={**_etag(data), **meta, "content-length": str(len(data))})
        if not data:
            return error(416, "InvalidRange")
        found = {**_etag(data), **meta, "content-range": f"bytes 0-0/{len(data)}"}
        return Reply(206, data[:1], found)


def _kind(method: str, query: dict[str, str]) -> str:
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort"}[method]
    if "uploads" in query:
        return {"POST": "create", "GET": "list"}[method]
    return method.lower()


def _etag(data: bytes) -> dict[str, str]:
    return {"etag": f'"{hashlib.md5(data).hexdigest()}"'}


def _xml(root: str, **fields: str) -> bytes:
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()
