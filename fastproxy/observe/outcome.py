"""How what is counted ended: well, or by whose fault."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastproxy.errors import FastproxyError, Side


def side_of(error: BaseException) -> Side:
    """Whose fault it is. What is cancelled lost its client, or the time to drain."""
    return error.side if isinstance(error, FastproxyError) else Side.CLIENT


@contextmanager
def counting(count: Callable[[str], None]) -> Iterator[None]:
    """Tell `count` how the block ends: "ok", or the side at fault. What it raises goes on."""
    try:
        yield
    except BaseException as error:
        count(side_of(error).value)
        raise
    count("ok")
