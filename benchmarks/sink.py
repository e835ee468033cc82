"""An object store that judges every byte and keeps none: the S3 side of benchmarks.

    python -m benchmarks.sink PORT [--delay-ms N]

speaks what fastproxy needs of S3, with any bucket in the path; signatures are not looked at.
`--delay-ms` makes each PutObject and UploadPart wait so long for its answer. Of an object whose key
ends in NUMBER-SIZE (benchmarks/pattern.py) every byte is compared as it arrives, in whatever order
its parts come; of others only the size is known. GET /-/stats tells counts as JSON, GET /-/objects
one line for each object: KEY SIZE and "exact", "wrong" or "unknown".
"""

import argparse
import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import parse_qs, unquote

import uvloop

from benchmarks.pattern import LOCATING, PERIOD, Body, locate, matches, named, prepare
from benchmarks.serving import Request, Served

_WRITE_ID: Final = b"x-amz-meta-fastproxy-write"
_XML: Final = b"<?xml version='1.0'?>"
_NUMBERS: Final = re.compile(rb"<PartNumber>(\d+)</PartNumber>")
_ETAGS: Final = re.compile(rb'<ETag>(?:&quot;|&#34;|")?([^<&"]*)')


@dataclass(slots=True)
class Incoming:
    """A part or an object on its way in. `place`: of its first byte in the stream, once known."""

    body: Body | None
    place: int | None
    size: int = 0
    start: bytes = b""  # its first bytes, until they are enough to tell its place
    is_exact: bool = True

    def take(self, data: memoryview) -> None:
        """Compare the next bytes."""
        if self.body is not None and self.place is None:
            self.start += bytes(data[: LOCATING - len(self.start)])
            if len(self.start) == LOCATING:
                self.place = locate(self.start)
                self.is_exact = self.place is not None
        if self.place is not None:
            self.is_exact = self.is_exact and matches(data, self.place + self.size)
        self.size += len(data)

    def is_at(self, place: int) -> bool:
        """Whether these are the bytes that belong there."""
        if self.place is None:
            return self.is_exact and matches(memoryview(self.start), place)
        return self.is_exact and self.place == place % PERIOD


@dataclass(frozen=True, slots=True)
class Object:
    """What is known of an object."""

    size: int
    etag: bytes
    write_id: bytes
    judgement: str


@dataclass(slots=True)
class Upload:
    """A multipart upload."""

    key: str
    write_id: bytes
    parts: dict[int, Incoming] = field(default_factory=dict)


def judge(key: str, parts: list[Incoming]) -> str:
    """ "exact" if `parts`, one after another, are the body that `key` names."""
    body = named(key)
    if body is None:
        return "unknown"
    offset = 0
    for part in parts:
        if not part.is_at(body.start + offset):
            return "wrong"
        offset += part.size
    return "exact" if offset == body.size else "wrong"


class Sink:
    """The objects and uploads of all connections."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self.counts: Counter[str] = Counter()
        self.bytes = 0
        self._names = 0

    def create(self, key: str, write_id: bytes) -> str:
        """A new multipart upload's id."""
        self._names += 1
        self.uploads[str(self._names)] = Upload(key, write_id)
        return str(self._names)

    def store(self, key: str, write_id: bytes, parts: list[Incoming]) -> bytes:
        """Make an object; its ETag."""
        self._names += 1
        etag = b'"%d-%d"' % (self._names, len(parts))
        size = sum(part.size for part in parts)
        self.objects[key] = Object(size, etag, write_id, judge(key, parts))
        return etag

    def stats(self) -> dict[str, int]:
        """Requests by operation, objects by judgement, bytes received."""
        judged = Counter(one.judgement for one in self.objects.values())
        return {
            **self.counts,
            "bytes": self.bytes,
            "objects": len(self.objects),
            "pending": len(self.uploads),
            **{name: judged[name] for name in ("exact", "wrong", "unknown")},
        }


class SinkConnection(Served):
    """One request at a time."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self._request: Request
        self._key = ""
        self._query: dict[str, str] = {}
        self._incoming: Incoming | None = None
        self._document = b""

    def on_request(self, request: Request) -> None:
        path, _, query = request.target.partition(b"?")
        self._request, self._document = request, b""
        self._key = unquote(path.decode()).lstrip("/").partition("/")[2]
        asked = parse_qs(query.decode(), keep_blank_values=True)
        self._query = {name: values[0] for name, values in asked.items()}
        self._incoming = None
        if request.method == b"PUT":
            body = named(self._key)
            is_whole = body is not None and "uploadId" not in self._query
            self._incoming = Incoming(body, body.start if body and is_whole else None)

    def on_body(self, data: memoryview) -> None:
        if self._incoming is None:
            self._document += bytes(data)
        else:
            self._incoming.take(data)
            self._sink.bytes += len(data)

    def on_end(self) -> None:
        if self._request.target.startswith(b"/-/"):
            self._tell()
            return
        kind = _kind(self._request.method, self._query)
        self._sink.counts[kind] += 1
        upload_id = self._query.get("uploadId", "")
        if upload_id and upload_id not in self._sink.uploads:
            self._refuse(404, b"NoSuchUpload")
            return
        getattr(self, f"do_{kind}")()

    # -- operations ----------------------------------------------------------------------------

    def do_put(self) -> None:
        """PutObject."""
        assert self._incoming is not None
        etag = self._sink.store(self._key, self._request.field(_WRITE_ID), [self._incoming])
        self._answer_later(b"ETag: %b\r\n" % etag)

    def do_part(self) -> None:
        """UploadPart."""
        assert self._incoming is not None
        number = int(self._query["partNumber"])
        upload_id = self._query["uploadId"]
        self._sink.uploads[upload_id].parts[number] = self._incoming
        self._answer_later(b'ETag: "%b"\r\n' % _part_etag(upload_id, number))

    def do_create(self) -> None:
        """CreateMultipartUpload."""
        upload_id = self._sink.create(self._key, self._request.field(_WRITE_ID))
        self._answer_xml("InitiateMultipartUploadResult", f"<UploadId>{upload_id}</UploadId>")

    def do_complete(self) -> None:
        """CompleteMultipartUpload."""
        upload_id = self._query["uploadId"]
        upload = self._sink.uploads[upload_id]
        numbers = [int(number) for number in _NUMBERS.findall(self._document)]
        etags = [_part_etag(upload_id, number) for number in numbers]
        is_ordered = bool(numbers) and numbers == sorted(set(numbers))
        is_whole = upload.parts.keys() >= set(numbers)
        if not is_ordered or not is_whole or etags != _ETAGS.findall(self._document):
            self._refuse(400, b"InvalidPart")
            return
        del self._sink.uploads[upload_id]
        parts = [upload.parts[number] for number in numbers]
        etag = self._sink.store(upload.key, upload.write_id, parts)
        self._answer_xml("CompleteMultipartUploadResult", f"<ETag>{etag.decode()}</ETag>")

    def do_abort(self) -> None:
        """AbortMultipartUpload."""
        del self._sink.uploads[self._query["uploadId"]]
        self.answer(204)

    def do_list(self) -> None:
        """ListMultipartUploads."""
        prefix = self._query.get("prefix", "")
        rows = "".join(
            f"<Upload><Key>{upload.key}</Key><UploadId>{upload_id}</UploadId></Upload>"
            for upload_id, upload in self._sink.uploads.items()
            if upload.key.startswith(prefix)
        )
        self._answer_xml("ListMultipartUploadsResult", rows)

    def do_delete(self) -> None:
        """DeleteObject."""
        found = self._sink.objects.get(self._key)
        wanted = self._request.field(b"if-match")
        if found is not None and wanted and wanted != found.etag:
            self._refuse(412, b"PreconditionFailed")
            return
        self._sink.objects.pop(self._key, None)
        self.answer(204)

    def do_read(self) -> None:
        """HeadObject, or GetObject of the first byte: more it cannot give without the bytes."""
        found = self._sink.objects.get(self._key)
        if found is None:
            self._refuse(404, b"NoSuchKey")
            return
        fields = b"ETag: %b\r\n" % found.etag
        if found.write_id:
            fields += b"%b: %b\r\n" % (_WRITE_ID, found.write_id)
        if self._request.method == b"HEAD":
            self.answer(200, fields, size=found.size)
        elif not found.size:
            self._refuse(416, b"InvalidRange")
        else:
            self.answer(206, fields + b"Content-Range: bytes 0-0/%d\r\n" % found.size, b"?")

    # -- answers -------------------------------------------------------------------------------

    def _answer_later(self, fields: bytes) -> None:
        if self._sink.delay_s:
            asyncio.get_running_loop().call_later(self._sink.delay_s, self.answer, 200, fields)
        else:
            self.answer(200, fields)

    def _answer_xml(self, root: str, inner: str) -> None:
        namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<{root} xmlns="{namespace}">{inner}</{root}>'.encode()
        self.answer(200, b"Content-Type: application/xml\r\n", _XML + body)

    def _refuse(self, status: int, code: bytes) -> None:
        body = b"" if self._request.method == b"HEAD" else b"<Error><Code>%b</Code></Error>" % code
        self.answer(status, b"Content-Type: application/xml\r\n", body)

    def _tell(self) -> None:
        if self._request.target == b"/-/stats":
            self.answer(200, body=json.dumps(self._sink.stats()).encode())
            return
        rows = (f"{key} {one.size} {one.judgement}\n" for key, one in self._sink.objects.items())
        self.answer(200, body="".join(rows).encode())


def _part_etag(upload_id: str, number: int) -> bytes:
    return f"{upload_id}-part-{number}".encode()


def _kind(method: bytes, query: dict[str, str]) -> str:
    if "uploadId" in query:
        return {b"PUT": "part", b"POST": "complete", b"DELETE": "abort"}[method]
    if "uploads" in query:
        return {b"POST": "create", b"GET": "list"}[method]
    return {b"PUT": "put", b"DELETE": "delete", b"GET": "read", b"HEAD": "read"}[method]


async def serve(port: int, delay_s: float) -> None:
    """Until killed."""
    make = partial(SinkConnection, Sink(delay_s))
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    options = parser.parse_args()
    prepare()
    uvloop.run(serve(options.port, options.delay_ms / 1000))


if __name__ == "__main__":
    main()
