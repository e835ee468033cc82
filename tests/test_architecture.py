"""Imports point one way, and no file or function grows beyond what one can hold in mind.

A room is a folder or a top-level file of the package. Type-only imports count.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fastproxy"
MAX_LINES = 400
MAX_FUNCTION_LINES = 60

# What each room may import. Nothing may import a room that stands above it.
ALLOWED = {
    # The ground: values and rules without I/O.
    "__init__": set(),
    "errors": set(),
    "protocol": set(),
    "message": set(),
    "sides": {"errors", "wire"},
    "deadlines": set(),
    "readiness": {"deadlines"},
    "keepalive": set(),
    "crowd": set(),
    "shortcut": set(),
    "_chunker": set(),
    "chunker": {"_chunker"},
    "tls": set(),
    "config": {"errors", "protocol", "tls"},
    "routes": {"config", "errors"},
    # Bytes and numbers.
    "wire": {"errors", "message", "protocol"},
    "observe": {"config", "errors"},
    "reactor": {"deadlines", "readiness", "wire"},
    "context": {"config", "crowd", "observe"},
    # What a request needs. Storage, upstream and memory do not know each other.
    "exchange": {"errors", "message", "sides", "wire"},
    "upstream": {
        *("deadlines", "errors", "keepalive", "message", "reactor", "readiness", "shortcut"),
        "wire",
    },
    "storage": {"config", "errors", "message"},
    "memory": {"_chunker", "config", "errors"},
    "zips": set(),
    "images": set(),
    "claims": {"protocol"},
    "orphans": set(),
    "git": {"errors", "orphans"},
    "asking": {"claims", "errors", "message", "upstream", "wire"},
    "uploads": {
        *("asking", "claims", "config", "errors", "memory", "message", "protocol", "storage"),
        *("upstream", "wire"),
    },
    "channels": {"asking", "config", "errors", "protocol"},
    "polls": {"config", "deadlines", "message", "observe"},
    "senders": {
        *("config", "errors", "exchange", "git", "handlers", "images", "message", "observe"),
        *("protocol", "reactor", "storage", "upstream", "wire", "zips"),
    },
    "handlers": {
        *("asking", "claims", "config", "deadlines", "errors", "exchange", "memory", "message"),
        *(
            "channels",
            "git",
            "observe",
            "polls",
            "protocol",
            "reactor",
            "sides",
            "storage",
            "uploads",
        ),
        *("upstream", "wire", "zips"),
    },
    # The near side.
    "front": {
        *("config", "crowd", "deadlines", "errors", "exchange", "message", "observe", "reactor"),
        *("readiness", "shortcut", "sides", "tls", "wire"),
    },
    # Past all of it, for plain requests.
    "express": {
        *("deadlines", "errors", "exchange", "front", "handlers", "observe", "readiness"),
        *("shortcut", "upstream", "wire"),
    },
    # Wiring.
    "reporting": {"context", "errors", "exchange", "observe"},
    "gauges": {"front", "handlers", "memory", "observe"},
    "assembly": {
        *("claims", "config", "errors", "exchange", "handlers", "images", "memory", "observe"),
        "protocol",
        *("reactor", "senders", "storage", "uploads", "upstream"),
    },
    "app": {
        *("assembly", "config", "context", "deadlines", "dispatch", "errors", "exchange"),
        *("express", "front", "gauges", "handlers", "observe", "reactor", "reporting", "routes"),
        *("storage", "wire"),
    },
    "dispatch": {"errors", "exchange", "message", "routes"},
    "service": {
        "app",
        "config",
        "context",
        "crowd",
        "demo",
        "errors",
        "keepalive",
        "observe",
        "orphans",
        "routes",
    },
    "__main__": {"service"},
    # For other people's programs: PyJWT and the shared words, nothing else of ours.
    "backend": {"protocol"},
    "demo": {"backend"},
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


def rooms() -> dict[str, set[str]]:
    """Room -> rooms it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        found[room(module)] |= {room(name) for name in imported(path)} - {room(module)}
    return found


def test_every_room_has_its_place_in_the_table() -> None:
    assert set(rooms()) <= set(ALLOWED)


@pytest.mark.parametrize("name", sorted(rooms()))
def test_a_room_imports_only_what_it_may(name: str) -> None:
    assert rooms()[name] <= ALLOWED[name]


def test_the_table_has_no_circle() -> None:
    assert list(TopologicalSorter(ALLOWED).static_order())


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
    assert not ALLOWED["handlers"] & {"front", "app", "service"}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_held_in_mind(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.suffix == ".py"])
def test_functions_can_be_held_in_mind(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"
