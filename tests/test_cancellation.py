"""Nobody swallows a cancellation: who catches one raises, at least when it was not asked for."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[1] / "fastproxy"
_CATCHING = ("CancelledError", "BaseException")
_ENDS = "service/launcher.py"  # what it catches ends the process, by os._exit


def _handlers() -> Iterator[tuple[str, ast.ExceptHandler]]:
    """All that may catch a cancellation, and where."""
    for path in sorted(set(_PACKAGE.rglob("*.py")) - {_PACKAGE / _ENDS}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and _catches_cancellation(node):
                yield f"{path.relative_to(_PACKAGE)}:{node.lineno}", node


def _catches_cancellation(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or any(
        name in ast.unparse(handler.type).replace("Group", "") for name in _CATCHING
    )


FOUND = dict(_handlers())


def test_there_are_such_handlers() -> None:
    assert len(FOUND) > 5


@pytest.mark.parametrize("where", FOUND)
def test_who_catches_a_cancellation_raises(where: str) -> None:
    assert any(isinstance(node, ast.Raise) for node in ast.walk(FOUND[where]))
