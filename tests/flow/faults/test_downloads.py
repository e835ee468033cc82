"""Faults of a store while its objects, members of its archives and its images are being sent.

Before the first byte there is a status of its own; afterwards the connection is cut, and no client
can take what it has for the whole.
"""

import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.flow.test_takeover import order
from tests.flow.test_takeover_zips import photo
from tests.servers.seaweed import Seaweed
from tests.support.fault_proxy import Act, Fault, FaultProxy, Mark, fault_proxy, refusal
from tests.support.harness import Proxy, proxy, to_backend
from tests.support.origin import Peer, origin, response
from tests.support.waiting import eventually
from tests.zips.archives import archive

WINDOW = 128 << 10  # of a member
READ = 512 << 10  # of an image
DATA = bytes(range(256)) * 1200  # 300 KiB
ZIP = archive({"m": DATA}, method=zipfile.ZIP_STORED)
MEMBER = 30 + len("m")  # behind the local header
PHOTO = photo(size=(600, 400))
assert READ < len(PHOTO) < 2 * READ
OBJECTS = {"lfs/oid": DATA, "a.zip": ZIP, "photo": PHOTO}
OBJECT = order("object", store="s3", key="lfs/oid")
ENTRY = order("zip-member", store="s3", key="a.zip", member="m")
IMAGE = order("image", store="s3", key="photo", width=64, content_type="image/png")
BROKEN = 0  # the answer begins and is cut


@dataclass
class World:
    proxy: Proxy
    store: FaultProxy
    fields: bytes = b""

    def ask(self, fields: bytes) -> tuple[int, bytes]:
        """Status (BROKEN for an answer that is cut) and body."""
        self.fields = fields
        with self.proxy.client() as client:
            status, body = BROKEN, b""
            with suppress(ConnectionResetError, EOFError):
                reply = client.get()
                if reply.is_complete:
                    status, body = reply.status, reply.body
        return status, body


@pytest.fixture(scope="module")
def world(seaweed: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("downloads")
    witness = seaweed.client()
    witness.create_bucket(Bucket="downloads")
    for key, data in OBJECTS.items():
        witness.put_object(Bucket="downloads", Key=key, Body=data)
    made: World

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(response(fields=made.fields))

    host, port = seaweed.endpoint.removeprefix("http://").split(":")
    send = 'send = { stores = ["s3"], image_widths = [64], timeout = "500ms" }'
    with origin(script) as backend, fault_proxy(host, int(port)) as store:
        text = f"""
{to_backend(backend.address, send)}
[store.s3]
type = "s3"
bucket = "downloads"
endpoint = "{store.endpoint}"
{seaweed.keys(home)}
attempts = 2
timeout = "500ms"
"""
        with proxy(text) as running:
            made = World(running, store)
            yield made


def whole(data: bytes, start: int, end: int, tag: bytes, more: bytes = b"") -> bytes:
    """A store's answer with a part of an object."""
    head = b"HTTP/1.1 206 P\r\nETag: %b\r\nContent-Range: bytes %d-%d/%d\r\n%b" % (
        *(tag, start, end - 1, len(data), more),
    )
    return head + b"Content-Length: %d\r\n\r\n%b" % (end - start, data[start:end])


def head(fields: bytes, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\n%b" % (fields, body)


ENDS = (Act.RESET, Act.CLOSE, Act.TRUNCATE)
GET = b"GET /downloads/lfs/oid"
SECOND = b"bytes=%d-" % (MEMBER + WINDOW)  # the second window of the member
LATER = b"bytes=%d-" % READ  # the second read of the image
MOVED = b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


def placed(when: bytes, act: Act, mark: Mark, after: int, times: int = 9) -> Fault:
    return Fault(when, act, after, times, mark, is_back=True)


def answered(when: bytes, answer: bytes) -> Fault:
    return Fault(when, Act.ANSWER, times=9, answer=answer)


def rows() -> Iterator[tuple[bytes, Fault, int, str]]:
    """Order, fault, status and the log's kind. A fault comes as often as it is asked for."""
    cut = (BROKEN, "store-unavailable")
    away = (503, "store-unavailable")
    for act in ENDS:
        yield OBJECT, placed(GET, act, Mark.START, 0), *away
        yield OBJECT, placed(GET, act, Mark.HEAD, -2), *away
        yield OBJECT, placed(GET, act, Mark.HEAD, 1), *cut
        yield OBJECT, placed(GET, act, Mark.HEAD, 100_000), *cut
        yield OBJECT, placed(GET, act, Mark.END, -1), *cut
    yield OBJECT, placed(GET, Act.STALL, Mark.HEAD, -2), *away
    yield OBJECT, placed(GET, Act.STALL, Mark.HEAD, 100_000), *cut
    for status in (500, 503):
        yield OBJECT, answered(GET, refusal(status, "SlowDown")), *away
    for answer in (refusal(403, "AccessDenied"), MOVED):
        yield OBJECT, answered(GET, answer), 502, "store-refused"
    yield OBJECT, answered(GET, refusal(404, "NoSuchKey")), 404, "nothing-to-send"
    yield OBJECT, answered(GET, head(b"Content-Length: 9\r\n", b"short")), *cut
    yield OBJECT, answered(GET, head(b"Content-Length: x\r\n", b"short")), *away
    yield OBJECT, answered(GET, head(b"", b"no end")), 502, "store-mismatch"
    yield OBJECT, answered(GET, head(b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n")), *cut
    for act in (Act.RESET, Act.TRUNCATE):  # asked twice, so once does not matter
        yield ENTRY, placed(b"/a.zip", act, Mark.START, 0, times=1), 200, ""
        yield ENTRY, placed(SECOND, act, Mark.HEAD, 100, times=1), 200, ""
        yield ENTRY, placed(b"/a.zip", act, Mark.START, 0), *away
        yield ENTRY, placed(SECOND, act, Mark.HEAD, 100), *cut
    yield ENTRY, placed(SECOND, Act.STALL, Mark.HEAD, 100, times=1), 200, ""
    yield ENTRY, answered(b"/a.zip", refusal(403, "AccessDenied")), 502, "store-refused"
    yield ENTRY, answered(b"/a.zip", refusal(404, "NoSuchKey")), 404, "nothing-to-send"
    yield ENTRY, answered(SECOND, refusal(404, "NoSuchKey")), BROKEN, "nothing-to-send"
    yield ENTRY, answered(SECOND, MOVED), BROKEN, "store-refused"
    start, end = MEMBER + WINDOW, MEMBER + 2 * WINDOW
    for answer in (
        whole(ZIP, start, end, b'"another"'),
        whole(ZIP, start, end - 1, b'"short"'),
        whole(ZIP, 0, WINDOW, b'"elsewhere"'),
        head(b"Content-Length: 3\r\n", b"all"),
    ):
        yield ENTRY, answered(SECOND, answer), BROKEN, "store-mismatch"
    mixed = whole(PHOTO, READ, len(PHOTO), b'"another"')
    yield IMAGE, answered(LATER, mixed), 502, "store-mismatch"
    yield IMAGE, answered(LATER, refusal(500, "InternalError")), *away


def test_what_a_store_does_is_told_or_cut_and_leaves_nothing(world: World) -> None:
    whole = [(OBJECT, DATA), (ENTRY, DATA)]
    assert world.ask(IMAGE)[0] == 200
    for fields, data in whole:
        assert world.ask(fields) == (200, data)
    descriptors, kinds = world.proxy.descriptors(), [""] * 3
    for fields, fault, status, kind in rows():
        world.store.expect(fault)
        came, body = world.ask(fields)
        world.store.expect()
        assert fault.met, (fault, "was never met")
        assert came == status, fault
        assert body == DATA or (status != 200 and len(body) < 100), fault
        kinds.append(kind)
    for fields, data in whole:
        assert world.ask(fields) == (200, data)
    logged = world.proxy.logged(len(kinds) + len(whole))
    assert [line["error_kind"] for line in logged] == [*kinds, "", ""]
    eventually(lambda: world.proxy.descriptors() <= descriptors + 2, "no descriptor is left")
    eventually(lambda: not world.proxy.metric("fastproxy_requests_in_flight"), "all have ended")
    said = world.proxy.said()
    assert '"side":"storage"' in said
    assert "X-Amz" not in said
