"""Answers of a backend out of data files, and what a client must get of them.

`responses/NN-title.toml`: `send` is what the backend sends, after which it closes if `eof`. The
client gets `status` with `body`; without a `body`, a whole answer of ours; `cut`: an answer that is
visibly not whole, or a 502 when nothing of it was sent yet. `pooled`: whether the backend's
connection may serve another request.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "responses"


@dataclass(frozen=True)
class ResponseCase:
    """See the module."""

    number: int
    name: str
    send: bytes
    status: int = 502
    body: bytes | None = None
    method: str = "GET"
    eof: bool = False
    cut: bool = False
    pooled: bool = False
    fields: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.number:02}-{self.name}"


def _case(number: int, table: dict[str, object]) -> ResponseCase:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for key in ("send", "body"):
        if isinstance(text := values.get(key), str):
            values[key] = text.encode("latin-1")
    return ResponseCase(number, **values)  # type: ignore[arg-type]


def load_responses() -> list[ResponseCase]:
    """All cases of the data files."""
    return [
        _case(int(path.name[:2]), table)
        for path in sorted(FOLDER.glob("[0-9]*.toml"))
        for table in tomllib.loads(path.read_text())["case"]
    ]
