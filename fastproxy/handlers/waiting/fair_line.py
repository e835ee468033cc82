"""Who waits for a turn: the keys take turns, and of each key who came first."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class FairLine(Generic[T]):
    """So that one key with thousands waiting delays another's only one by one turn."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def waiting(self, key: str) -> int:
        """How many wait of this key."""
        return len(self._by_key.get(key, ()))

    def add(self, key: str, item: T) -> None:
        """At the end of those of its key; a key that is new has the last turn of all."""
        self._by_key.setdefault(key, OrderedDict())[item] = None
        self._size += 1

    def remove(self, key: str, item: T) -> None:
        """`item` waits no more. Raises KeyError if it did not."""
        items = self._by_key[key]
        del items[item]
        self._size -= 1
        if not items:
            del self._by_key[key]

    def pop(self) -> T:
        """Whose turn it is. Raises KeyError if nobody waits."""
        key, items = self._by_key.popitem(last=False)
        item, _ = items.popitem(last=False)
        self._size -= 1
        if items:
            self._by_key[key] = items
        return item
