"""A plugin for pytest: every property again and again, for so many minutes in all.

    pytest -p tests.fuzz.again --minutes 20 tests/wire tests/fuzz

Only what hypothesis draws examples for is run, each for the same share of the time and at least
once; every round draws new ones.
"""

import time
from collections.abc import Generator

import pytest
from hypothesis import is_hypothesis_test

_SHARE = pytest.StashKey[float]()  # seconds for each


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=20.0, help="for all properties together")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    properties = [item for item in items if _is_property(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in properties])
    items[:] = properties
    config.stash[_SHARE] = config.getoption("--minutes") * 60 / max(len(properties), 1)


def _is_property(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and is_hypothesis_test(item.obj)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    until = time.monotonic() + item.config.stash[_SHARE]
    yield
    while time.monotonic() < until:
        item.runtest()
