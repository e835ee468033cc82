"""Who waits for which key to change. No I/O: a link brings the news and takes the work.

A key is asked for once, however many wait for it, and its value then follows from what is
announced: first subscribe, then ask, so that no change falls between the two.

    (none) --wait--> SUBSCRIBING --subscribed--> ASKING --answered or announced--> KNOWN
                       (only with channels of its own)   <--somebody waits, and it is old--

A key for which nobody waits any more is kept a little longer: most who were answered come again.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct, field

# A value is believed for so long; a key that expires in the store announces nothing.
_FRESH_S: Final = 5.0
_IDLE_S: Final = 5.0
_MOST_IDLE: Final = 10_000  # of keys for which nobody waits; some 6 MiB


class Waiter(Protocol):
    """Who waits for a key."""

    def told(self, value: bytes) -> None:
        """The key's value is `value`; b"": it has none. May leave."""
        ...

    def unwatched(self) -> None:
        """Nobody can say any more what changes. It has left already."""
        ...


class State(Enum):
    """What is known of a key."""

    SUBSCRIBING = "subscribing"
    ASKING = "asking"
    KNOWN = "known"


_SUBSCRIBING, _ASKING, _KNOWN = State


class _Topic:
    """One key."""

    __slots__ = ("key", "since", "state", "value", "waiters")

    def __init__(self, key: bytes, state: State) -> None:
        self.key = key
        self.state = state
        self.value = b""
        self.since = 0.0  # when the value was said
        # Who came first is told first. For the many keys for which one waits: a dict takes 170
        # bytes more.
        self.waiters: dict[Waiter, None] | tuple[Waiter, ...] = ()

    def add(self, waiter: Waiter) -> None:
        """It waits."""
        if isinstance(self.waiters, dict):
            self.waiters[waiter] = None
        elif self.waiters:
            self.waiters = dict.fromkeys((*self.waiters, waiter))
        else:
            self.waiters = (waiter,)

    def remove(self, waiter: Waiter) -> None:
        """It waits no more."""
        if isinstance(self.waiters, dict):
            del self.waiters[waiter]
        else:
            self.waiters = ()


class Work(Struct):
    """What the link is to do, in this order. Keys."""

    unsubscribe: list[bytes] = field(default_factory=list)
    subscribe: list[bytes] = field(default_factory=list)
    ask: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.unsubscribe or self.subscribe or self.ask)


class Watch:
    """See the module. `on_work` is called when there is something to `take`.

    `each_has_channel`: changes of a key are announced on a channel of its own. `clock`: seconds.
    """

    def __init__(self, clock: Callable[[], float], *, each_has_channel: bool) -> None:
        self._clock = clock
        self._first = _SUBSCRIBING if each_has_channel else _ASKING
        self._topics: dict[bytes, _Topic] = {}
        self._idle: dict[_Topic, float] = {}  # KNOWN and without a waiter since then, in order
        self._work = Work()
        self.is_up = False
        self.on_work: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """Keys that are followed."""
        return len(self._topics)

    # -- for who waits -------------------------------------------------------------------------

    def wait(self, key: bytes, waiter: Waiter) -> bool:
        """Tell `waiter` the key's value, maybe at once, and each change until it leaves.

        False: nobody can say now; it does not wait.
        """
        if not self.is_up:
            return False
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic(key, self._first)
            self._order(topic)
        self._idle.pop(topic, None)
        topic.add(waiter)
        if topic.state is _KNOWN:
            if topic.value and self._clock() - topic.since < _FRESH_S:
                waiter.told(topic.value)
            else:
                topic.state = _ASKING
                self._order(topic)
        return True

    def leave(self, key: bytes, waiter: Waiter) -> None:
        """`waiter` is told no more."""
        topic = self._topics.get(key)
        if topic is None or waiter not in topic.waiters:
            return
        topic.remove(waiter)
        self._rest(topic)

    def _order(self, topic: _Topic) -> None:
        work = self._work
        (work.subscribe if topic.state is _SUBSCRIBING else work.ask).append(topic.key)
        self.on_work()

    # -- for the link --------------------------------------------------------------------------

    def connected(self) -> None:
        """From now on changes are heard of."""
        self.is_up = True

    def lost(self) -> None:
        """Nothing is heard any more: all who wait are told so, and nothing is followed."""
        self.is_up = False
        topics, self._topics = self._topics, {}
        self._idle.clear()
        self._work = Work()
        for topic in topics.values():
            waiters, topic.waiters = topic.waiters, ()
            for waiter in waiters:
                waiter.unwatched()

    def take(self) -> Work:
        """What is to be done now."""
        work, self._work = self._work, Work()
        return work

    def subscribed(self, key: bytes) -> None:
        """From now on changes of this key are heard of."""
        topic = self._topics.get(key)
        if topic is not None and topic.state is _SUBSCRIBING:
            topic.state = _ASKING
            self._order(topic)

    def answered(self, key: bytes, value: bytes) -> None:
        """The key has this value. What was announced while it was asked for is newer."""
        topic = self._topics.get(key)
        if topic is not None and topic.state is _ASKING:
            self._tell(topic, value)

    def announced(self, key: bytes, value: bytes) -> None:
        """The key has now this value."""
        topic = self._topics.get(key)
        if topic is not None:
            self._tell(topic, value)

    def _tell(self, topic: _Topic, value: bytes) -> None:
        topic.state = _KNOWN
        topic.value = value
        topic.since = self._clock()
        for waiter in tuple(topic.waiters):
            if waiter in topic.waiters:
                waiter.told(value)
        self._rest(topic)

    def _rest(self, topic: _Topic) -> None:
        """Keep a key a little longer if nobody waits for it; what is under way ends first."""
        if not topic.waiters and topic.state is _KNOWN and topic not in self._idle:
            self._idle[topic] = self._clock()
            if len(self._idle) > _MOST_IDLE:
                self._drop(next(iter(self._idle)))

    def sweep(self) -> None:
        """Forget keys for which nobody has waited for a while. To be called every second or so."""
        before = self._clock() - _IDLE_S
        for topic, since in list(self._idle.items()):
            if since > before:
                break
            self._drop(topic)

    def _drop(self, topic: _Topic) -> None:
        del self._idle[topic]
        del self._topics[topic.key]
        if self._first is _SUBSCRIBING:
            self._work.unsubscribe.append(topic.key)
            self.on_work()
