"""Imports point one way, and no file or function grows beyond what one can hold in mind.

A room is a folder or a top-level file of the package. Type-only imports count.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastproxy"
MAX_LINES = 400
MAX_FUNCTION_LINES = 60
FOR_OTHERS = ("backend.", "demo.", "protocol")  # programs, which need not have msgspec

# What each room may import. Nothing may import a room that stands above it.
ALLOWED = {
    # The ground: values and rules without I/O.
    "__init__": set(),
    "errors": set(),
    "protocol": set(),
    "message": set(),
    "sides": {"errors", "wire"},
    "shortcut": set(),
    "_chunker": set(),
    "chunker": {"_chunker"},
    "tls": set(),
    "config": {"errors", "protocol", "tls"},
    "routes": {"config", "errors"},
    # Bytes, time and numbers.
    "wire": {"errors", "message", "protocol"},
    "loop": {"wire"},
    "observe": {"config", "errors"},
    # What a request needs. Storage, upstream and memory do not know each other.
    "exchange": {"errors", "message", "sides", "wire"},
    "upstream": {"errors", "loop", "message", "shortcut", "wire"},
    "storage": {"config", "errors", "loop", "message"},
    "memory": {"_chunker", "config", "errors", "loop"},
    "zips": set(),
    "images": set(),
    "claims": {"protocol"},
    "git": {"errors", "loop"},
    "asking": {"claims", "errors", "message", "upstream", "wire"},
    "uploads": {
        *("asking", "claims", "config", "errors", "memory", "message", "protocol", "storage"),
        *("upstream", "wire"),
    },
    "channels": {"asking", "config", "errors", "protocol"},
    "polls": {"config", "loop", "message", "observe"},
    "senders": {
        *("config", "errors", "exchange", "git", "handlers", "images", "loop", "message"),
        *("observe", "protocol", "storage", "upstream", "wire", "zips"),
    },
    "handlers": {
        *("asking", "channels", "claims", "config", "errors", "exchange", "git", "loop", "memory"),
        *("message", "observe", "polls", "protocol", "sides", "storage", "uploads", "upstream"),
        *("wire", "zips"),
    },
    # The near side.
    "front": {
        *("config", "errors", "exchange", "loop", "message", "observe", "shortcut", "sides"),
        *("tls", "wire"),
    },
    # Past all of it, for plain requests.
    "express": {
        *("errors", "exchange", "front", "handlers", "loop", "observe", "shortcut", "upstream"),
        "wire",
    },
    # Wiring: one worker, and the processes around it.
    "worker": {
        *("claims", "config", "errors", "exchange", "express", "front", "handlers", "images"),
        *("loop", "memory", "message", "observe", "protocol", "routes", "senders", "storage"),
        *("uploads", "upstream", "wire"),
    },
    "service": {
        *("config", "demo", "errors", "front", "git", "loop", "observe", "routes", "worker"),
    },
    "__main__": {"service"},
    # For other people's programs: PyJWT and the shared words, nothing else of ours.
    "backend": {"protocol"},
    "demo": {"backend"},
}

# The same within handlers: its files know how to answer, its rooms what to do with a request.
ALLOWED_IN_HANDLERS: dict[str, set[str]] = {
    "forwarded": set(),
    "origin": {"forwarded"},
    "reply": set(),
    "coroutine": set(),
    "fixed": {"origin"},
    "proxy": {"forwarded", "reply"},
    "static": {"coroutine", "origin", "reply"},
    "python": {"coroutine", "origin"},
    "waiting": {"origin", "proxy"},
    "uploads": {"coroutine", "forwarded", "proxy"},
    "forms": {"uploads"},
    "git": {"coroutine", "origin", "proxy", "uploads"},
    "channels": {"coroutine", "forwarded", "proxy", "uploads"},
}


_IMPORT = re.compile(r"^ *from fastproxy\.([\w.]+) c?import", re.MULTILINE)


def modules() -> dict[str, Path]:
    """Dotted name below the package -> file."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Dotted names below the package that a file imports, wherever in it, and its .pxd cimports."""
    for source in {path, path.with_suffix(".pxd")}:
        if source.suffix != ".py" and source.exists():
            yield from _IMPORT.findall(source.read_text())
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            if node.module == "fastproxy":
                yield from (a.name for a in node.names if a.name != "__version__")
            elif (node.module or "").startswith("fastproxy."):
                yield (node.module or "").removeprefix("fastproxy.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("fastproxy."):
                    yield alias.name.removeprefix("fastproxy.")


def room(module: str) -> str:
    return module.split(".")[0]


@cache
def rooms() -> dict[str, set[str]]:
    """Room -> rooms it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        found[room(module)] |= {room(name) for name in imported(path)} - {room(module)}
    return found


def test_every_room_has_its_place_in_the_table() -> None:
    assert set(rooms()) <= set(ALLOWED)


def test_every_room_is_told_to_whoever_wants_to_contribute() -> None:
    told = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    unsaid = {"__init__", "__main__", "_chunker"}
    files = {path.stem for path in PACKAGE.glob("*.py*") if path.is_file()}
    named = {f"{name}.py" if name in files else name for name in set(rooms()) - unsaid}
    assert {name for name in named if f"`{name}`" not in told} == set()


@pytest.mark.parametrize("name", sorted(rooms()))
def test_a_room_imports_only_what_it_may(name: str) -> None:
    assert rooms()[name] <= ALLOWED[name]


def test_the_tables_have_no_circle() -> None:
    for table in (ALLOWED, ALLOWED_IN_HANDLERS):
        assert list(TopologicalSorter(table).static_order())


def test_the_rooms_of_the_handlers_import_only_what_they_may() -> None:
    for module, path in MODULES.items():
        if module.startswith("handlers."):
            place = module.split(".")[1]
            others = {n.split(".")[1] for n in imported(path) if n.startswith("handlers.")}
            assert others - {place} <= ALLOWED_IN_HANDLERS[place], module


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {name for name in imported(path) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_storage_upstream_and_memory_never_import_each_other() -> None:
    apart = {"storage", "upstream", "memory"}
    for name in apart:
        assert not ALLOWED[name] & apart


def test_the_two_halves_of_the_proxy_meet_only_in_the_wiring() -> None:
    assert "handlers" not in ALLOWED["front"]
    assert not ALLOWED["handlers"] & {"front", "worker", "service"}


def test_records_are_structs_because_dataclasses_compile_code_at_every_start() -> None:
    own = {name: path for name, path in MODULES.items() if not name.startswith(FOR_OTHERS)}
    assert [name for name, path in own.items() if "@dataclass(" in path.read_text("utf-8")] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_held_in_mind(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.suffix == ".py"])
def test_functions_can_be_held_in_mind(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
