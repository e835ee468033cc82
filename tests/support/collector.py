"""What is in memory, and the collector of cycles, kept from its work."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collections() -> Iterator[None]:
    """A worker whose uploads all wait allocates nothing, so nothing is collected either."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(kinds: tuple[type, ...]) -> Counter[type]:
    """How many of these, and of what inherits from them, there are in this process."""
    return Counter(type(one) for one in gc.get_objects() if issubclass(type(one), kinds))
