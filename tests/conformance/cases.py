"""Cases out of data files: raw bytes in, and what must come of them.

`cases/NN-title.toml` holds the cases of class NN (README.md). Text is bytes as latin-1; `$ID` is a
mark of three letters, another one for each play, by which the backend's bytes are told apart.
"""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.parsers import Message
from tests.conformance.plays import Outcome

FOLDER = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Forward:
    """One request as the backend must get it. `fields`: lines it must have; `without`: names."""

    method: str = "GET"
    target: str = "/p/$ID"
    framing: str = "none"
    body: str = ""
    fields: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def filled(self, mark: bytes) -> tuple[bytes, bytes, bytes]:
        """Method, target and body of one play."""
        texts = (self.method, self.target, self.body)
        method, target, body = (t.encode("latin-1").replace(b"$ID", mark) for t in texts)
        return method, target, body

    def complaints(self, message: Message) -> Iterator[str]:
        """What of the fields is not as it must be."""
        lines = {b"%b: %b" % field for field in message.fields}
        for line in self.fields:
            name, _, value = line.partition(":")
            wanted = f"{name.lower()}: {value.strip(' ')}".encode("latin-1")
            if wanted not in lines:
                yield f"without {wanted!r}: {lines}"
        for name in self.without:
            if found := message.all(name.lower().encode("latin-1")):
                yield f"with {name}: {found}"


@dataclass(frozen=True)
class Case:
    """`forward`: the requests that reach the backend, in order; `refuse`: the status of what
    comes behind them, after which the connection ends. `eof`: the client half-closes at its end.
    """

    number: int
    name: str
    send: bytes
    forward: tuple[Forward, ...] = ()
    refuse: tuple[int, ...] = ()
    eof: bool = False
    closes: bool = False

    @property
    def id(self) -> str:
        return f"{self.number:02}-{self.name}"

    @property
    def play(self) -> dict[str, Any]:
        """How `plays.play` is told."""
        heads = frozenset(i for i, one in enumerate(self.forward) if one.method == "HEAD")
        return {
            "answers": len(self.forward) + bool(self.refuse),
            "closes": bool(self.refuse) or self.eof or self.closes,
            "eof": self.eof,
            "heads": heads,
        }

    def complaints(self, outcome: Outcome, seen: Sequence[Message]) -> list[str]:
        """What was not as it must be. `seen`: whole requests of this play at the backend."""
        found = [*outcome.trouble]
        statuses = outcome.statuses
        if statuses[: len(self.forward)] != [200] * len(self.forward):
            found.append(f"statuses {statuses}")
        elif self.refuse and (
            len(statuses) == len(self.forward) or statuses[-1] not in self.refuse
        ):
            found.append(f"not refused with {self.refuse}: {statuses}")
        found += self._unlike(outcome.mark, [m for m in seen if b"/canary/" not in m.target])
        canaries = Counter(m.target for m in seen if b"/canary/" in m.target)
        wanted = [b"other"] if self.play["closes"] else [b"same", b"other"]
        if canaries != Counter(b"/canary/%b/%b" % (outcome.mark, where) for where in wanted):
            found.append(f"canaries {canaries}")
        return found

    def _unlike(self, mark: bytes, seen: Sequence[Message]) -> Iterator[str]:
        """Pipelined requests may go by different connections, so order is not compared."""
        wanted = {(*one.filled(mark), one.framing): one for one in self.forward}
        got = {(m.method, m.target, m.body, m.framing): m for m in seen}
        if len(seen) != len(self.forward) or got.keys() != wanted.keys():
            yield f"the backend got {list(got)} instead of {list(wanted)}"
            return
        for key, one in wanted.items():
            yield from one.complaints(got[key])


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _forward(table: dict[str, Any]) -> Forward:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    if "body" in values:
        values.setdefault("framing", "length")
    return Forward(**values)


def _case(number: int, table: dict[str, Any]) -> Case:
    values = dict(table)
    values["send"] = values["send"].encode("latin-1")
    values["forward"] = tuple(map(_forward, values.get("forward", ())))
    values["refuse"] = _tuple(values.get("refuse", []))
    return Case(number, **values)


def load_cases() -> list[Case]:
    """All cases of the data files."""
    return [
        _case(int(path.name[:2]), table)
        for path in sorted(FOLDER.glob("[0-9]*.toml"))
        for table in tomllib.loads(path.read_text())["case"]
    ]
