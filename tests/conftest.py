"""What holds for all tests."""

import faulthandler
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says something of the machine only.
settings.register_profile("fastproxy", deadline=None)
settings.load_profile("fastproxy")

_WARNING_S = 10
_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the descriptor of stderr, which is not captured yet."""
    config.stash[_STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tell where every thread stands shortly before the test's time is up.

    Only then, when the process is ended anyway: faulthandler reads the frames of threads that
    run, and can crash by it. So pytest's faulthandler_timeout, which knows no marks, will not do.
    """
    mark = item.get_closest_marker("timeout")
    limit_s = float(mark.args[0] if mark else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit_s - _WARNING_S, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
