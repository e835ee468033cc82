"""Other people's requests meanwhile: small, at a steady rate, each timed from when it was due.

Whoever is late answers late: a request that had to wait for the one before it counts that time, so
no stall hides. Most travel over kept connections, spread over the workers; every fifth is on a new
one.
"""

import asyncio
import gc
import itertools
import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final, cast

import uvloop

REQUEST: Final = b"GET /hello HTTP/1.1\r\nHost: storm\r\n\r\n"
KEPT: Final = 32  # connections
FRESH: Final = 5  # one in so many requests connects anew
PRIORITY: Final = -10  # it must not measure how it waits for a core itself


@dataclass(slots=True)
class Probes:
    """Milliseconds, and what went wrong."""

    kept_ms: list[float] = field(default_factory=list)
    fresh_ms: list[float] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)


class _Probe(asyncio.Protocol):
    """One connection; requests wait for their turn."""

    def __init__(self, probes: Probes, latencies: list[float], *, is_kept: bool) -> None:
        self._probes = probes
        self._latencies = latencies
        self._is_kept = is_kept
        self._transport: asyncio.Transport | None = None
        self._due: list[float] = []
        self._is_asking = False

    def ask(self, due: float) -> None:
        """Send the request that was due then, as soon as the one before it has its answer."""
        self._due.append(due)
        self._next()

    def _next(self) -> None:
        if self._due and not self._is_asking and self._transport is not None:
            self._is_asking = True
            self._transport.write(REQUEST)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._latencies.append((time.perf_counter() - self._due.pop(0)) * 1000)
        self._probes.endings[data[9:12].decode("latin-1")] += 1
        self._is_asking = False
        if self._is_kept:
            self._next()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._is_kept or self._due:
            self._probes.endings["connection lost"] += 1


async def _probe(address: tuple[str, int], rate: float, commands: Connection) -> Probes:
    """Until something comes from `commands`."""
    loop = asyncio.get_running_loop()
    probes, over = Probes(), asyncio.Event()
    loop.add_reader(commands.fileno(), over.set)

    def kept() -> _Probe:
        return _Probe(probes, probes.kept_ms, is_kept=True)

    connections = [(await loop.create_connection(kept, *address))[1] for _ in range(KEPT)]
    connecting: set[asyncio.Task[None]] = set()
    turns = itertools.cycle(connections)
    begun = time.perf_counter()
    for number in itertools.count(1):
        due = begun + number / rate
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), max(0.0, due - time.perf_counter()))
        if over.is_set():
            break
        if number % FRESH:
            next(turns).ask(due)
        else:
            task = loop.create_task(_on_new_connection(address, probes, due))
            connecting.add(task)
            task.add_done_callback(connecting.discard)
    await asyncio.sleep(1.0)  # for the last answers
    return probes


async def _on_new_connection(address: tuple[str, int], probes: Probes, due: float) -> None:
    def fresh() -> _Probe:
        probe = _Probe(probes, probes.fresh_ms, is_kept=False)
        probe.ask(due)
        return probe

    try:
        await asyncio.get_running_loop().create_connection(fresh, *address)
    except OSError as error:
        probes.endings[type(error).__name__] += 1


def run(address: tuple[str, int], rate: float, pipe: Connection) -> None:
    """The body of the probing process: begins at once, ends and answers when asked."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    gc.freeze()
    probes = uvloop.run(_probe(address, rate, pipe))
    os.set_blocking(pipe.fileno(), True)  # the loop has changed that, and 25,000 figures are long
    pipe.send(probes)
