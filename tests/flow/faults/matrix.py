"""What fails where: each row is one run, its fault on the way between two of those who take part.

Places are chosen: before the first byte, within and at the end of the head, around the edge of a
part, at the last byte and behind it. A row's group runs one after another in one world.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import product

from tests.support.fault_proxy import Act, Fault, Mark

PART = 5 << 20
LARGE = PART + 100_000  # two parts
SMALL = 50_000  # one PUT


class Pair(Enum):
    """Between whom."""

    CLIENT = "client"
    BACKEND = "backend"
    STORE = "store"


class Ends(Enum):
    """What must come of a run."""

    STORED = "stored"  # the backend was told, and said yes
    NOTHING = "nothing"  # the backend was told of nothing
    EITHER = "either"  # nobody can know what the other side did


@dataclass(frozen=True)
class Row:
    """One PUT to `route` of `size` bytes. `when`: which message, `at`: where in it."""

    pair: Pair
    route: str
    when: bytes
    is_back: bool
    act: Act
    at: tuple[Mark, int]
    ends: Ends
    size: int
    is_chunked: bool = False

    @property
    def yes(self) -> int:
        """The status when all went well."""
        return 200 if self.route in ("plain", "held") else 201

    @property
    def group(self) -> str:
        """Rows of a group are one test."""
        framing = "chunked" if self.is_chunked else "length"
        return f"{self.route}, {NAMES.get(self.when) or framing}"

    @property
    def reaches_us(self) -> bool:
        """Whether the head of the client's request does."""
        mark, after = self.at
        if self.pair is not Pair.CLIENT or self.is_back or self.ends is Ends.STORED:
            return True
        return mark in (Mark.HALF, Mark.END) or (mark is Mark.HEAD and after >= 0)

    def fault(self, path: str) -> Fault:
        """For the fault proxy; `path` of the upload, by which a client's message is known."""
        mark, after = self.at
        when = self.when or f"PUT {path} ".encode()
        return Fault(when, self.act, after, mark=mark, is_back=self.is_back, seconds=0.2)


QUESTION, REPORT = b"Fastproxy-Authorize: ", b"Fastproxy-Upload: "
FORWARDED, SHIELDED = b"PUT /plain/", b"PUT /held/"
NAMES = {
    FORWARDED: "forwarded",
    SHIELDED: "forwarded",
    QUESTION: "permission",
    REPORT: "report",
    b"?uploads HTTP": "create",
    b"partNumber=1&": "part 1",
    b"partNumber=2&": "part 2",
    b"?uploadId=": "complete",
    b"PUT /": "put",
    b"ange: bytes=0-0": "size",
}
ENDINGS = (Act.RESET, Act.CLOSE, Act.TRUNCATE)

HEAD = ((Mark.START, 0), (Mark.START, 1), (Mark.HEAD, -2), (Mark.HEAD, 0), (Mark.HEAD, 1))
EDGE = ((Mark.HEAD, PART - 1), (Mark.HEAD, PART), (Mark.HEAD, PART + 1))
LAST = ((Mark.HALF, 0), (Mark.END, -1))
ANSWER = ((Mark.START, 0), (Mark.HEAD, -2), (Mark.HEAD, 0), (Mark.END, -1))
MESSAGE = ((Mark.START, 0), (Mark.HEAD, -2), (Mark.HALF, 0), (Mark.END, -1))


def client_rows() -> Iterator[Row]:
    """The client's own request, and our answer to it."""
    for route, is_chunked, size in (
        *(("s3", False, LARGE), ("s3", True, LARGE), ("live", False, LARGE)),
        *(("files", False, SMALL), ("files", True, SMALL)),
        *(("plain", False, SMALL), ("plain", True, SMALL)),  # by the express lane, and not
        *(("held", False, LARGE), ("held", True, SMALL)),
    ):
        row = partial(Row, Pair.CLIENT, route, b"", size=size, is_chunked=is_chunked)
        places = (*HEAD, *(EDGE if size == LARGE else ()), *LAST)
        for act in ENDINGS:
            yield from (row(False, act, at, Ends.NOTHING) for at in places)
            yield row(False, act, (Mark.END, 0), Ends.EITHER)
            yield from (row(True, act, at, Ends.EITHER) for at in ANSWER)
        for at in ((Mark.START, 1), (Mark.END, -1)):
            yield row(False, Act.STALL, at, Ends.NOTHING)
        for act in (Act.DELAY, Act.SLICE):
            yield row(False, act, (Mark.HEAD, -20), Ends.STORED)
            yield row(True, act, (Mark.START, 3), Ends.STORED)


def backend_rows() -> Iterator[Row]:
    """A forwarded request, the question for permission, the report, and the answers."""
    for when, route in (
        (FORWARDED, "plain"),
        (SHIELDED, "held"),
        *product((QUESTION, REPORT), ("s3", "files")),
    ):
        row = partial(Row, Pair.BACKEND, route, when, size=SMALL)
        for is_back in (False, True):
            for act, at in product(ENDINGS, MESSAGE):
                yield row(is_back, act, at, Ends.EITHER)
            for act in (Act.DELAY, Act.SLICE):
                yield row(is_back, act, (Mark.HEAD, -2), Ends.STORED)
        yield row(route != "files", Act.STALL, (Mark.HEAD, -2), Ends.EITHER)


def store_rows() -> Iterator[Row]:
    """Each request to the store, and its answers. What is held is sent again.

    A store that got half a head may answer 400, and then it has refused.
    """
    ends = {b"?uploads HTTP": ENDINGS[:1], b"partNumber=1&": ENDINGS[:1]}  # they take long
    for when, size in (
        *((b"?uploads HTTP", LARGE), (b"partNumber=1&", LARGE), (b"partNumber=2&", LARGE)),
        *((b"?uploadId=", LARGE), (b"PUT /", SMALL), (b"ange: bytes=0-0", SMALL)),
    ):
        row = partial(Row, Pair.STORE, "s3", when, size=size)
        for is_back in (False, True):
            for act, at in product(ends.get(when, ENDINGS), MESSAGE):
                is_half = act is Act.TRUNCATE and not is_back
                yield row(is_back, act, at, Ends.EITHER if is_half else Ends.STORED)
            for act in (Act.DELAY, Act.SLICE):
                yield row(is_back, act, (Mark.HEAD, -2), Ends.STORED)
        yield row(size == SMALL, Act.STALL, (Mark.HEAD, -2), Ends.STORED)
    for when in (b"partNumber=2&", b"?uploadId="):  # by the backend's own URLs
        row = partial(Row, Pair.STORE, "signed", when, size=LARGE)
        for act, at in product((Act.RESET, Act.CLOSE), MESSAGE):
            yield row(False, act, at, Ends.STORED)
            yield row(True, act, at, Ends.STORED)
    for act, at in product(ENDINGS, MESSAGE):  # what is not held is not sent again
        yield Row(Pair.STORE, "live", b"partNumber=2&", False, act, at, Ends.EITHER, LARGE)


def groups(rows: Iterator[Row]) -> dict[str, list[Row]]:
    """Rows by their group."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group, []).append(row)
    return found
