"""How much memory a configuration may take at the very most, and why."""

import os
from typing import Final

from msgspec import Struct

from fastproxy.config.schema import Config, FormRoute, KiB, MiB, S3Store, UploadRoute
from fastproxy.config.units import format_size

MASTER: Final = 32 * MiB
# Interpreter, libraries, routes and their cache; 50 MiB where there is S3. 16 MiB of read buffers.
WORKER: Final = 96 * MiB
CONNECTION: Final = 8 * KiB  # an idle client: transport, protocol, parser, counters
SECURE: Final = 64 * KiB  # what TLS adds, once bodies have passed
CIPHERTEXT: Final = 64 * KiB  # read, of a client that is paused
RELAY: Final = 64 * KiB  # a write buffer, of an answer that its client does not read
# Of a body, as much; or what was read behind its end, of a client that does not wait for answers.
AHEAD: Final = 136 * KiB
FIELDS_SHARE: Final = 16  # fields of forms may hold one such share of the budget, besides
FORM_WINDOW: Final = 320 * KiB  # into which the forms of a route are read; with the largest head
WINDOW_SHARE: Final = 32  # of the budget at most one such share is set aside for windows
S3_MIN_PART: Final = 5 * MiB  # Amazon S3 user guide, "multipart upload limits"


class WorstCase(Struct, frozen=True):
    """Bytes, each for one worker except `master` and `total`."""

    workers: int
    master: int
    base: int
    connections: int
    idle_connection: int
    busy_connection: int
    budget: int

    @property
    def worker(self) -> int:
        """One worker with every client in the middle of a body."""
        return self.base + self.connections * self.busy_connection + self.budget

    @property
    def total(self) -> int:
        """All processes of the machine."""
        return self.master + self.workers * self.worker

    @property
    def idle(self) -> int:
        """All processes with every client connected and silent."""
        return self.master + self.workers * (self.base + self.connections * self.idle_connection)

    def explain(self) -> str:
        """The sum with its numbers, for people."""
        clients = f"{self.connections} clients x {format_size(self.busy_connection)}"
        return (
            f"{_rounded(self.total)} = {_rounded(self.master)} master + {self.workers} workers x "
            f"({_rounded(self.base)} base + {clients} + {_rounded(self.budget)} upload budget, "
            f"windows included)\n"
            f"{_rounded(self.idle)} when all those clients are connected and idle"
        )


def worst_case(config: Config) -> WorstCase:
    """Computed from the limits alone; bodies handed to Python handlers come on top."""
    is_secure = any(listener.certificate for listener in config.listener)
    idle = CONNECTION + (SECURE if is_secure else 0)
    return WorstCase(
        workers=workers(config),
        master=MASTER,
        base=WORKER + _forms(config),
        connections=config.limits.connections,
        idle_connection=idle,
        busy_connection=idle + config.limits.header_bytes + RELAY + AHEAD + is_secure * CIPHERTEXT,
        budget=config.memory.budget,
    )


def _forms(config: Config) -> int:
    routes = sum(isinstance(route, FormRoute) for route in config.route)
    return routes and routes * FORM_WINDOW + config.memory.budget // FIELDS_SHARE


def workers(config: Config) -> int:
    """How many worker processes run: one a core when none is written."""
    return config.server.workers or len(os.sched_getaffinity(0))


def memory_reserve(config: Config) -> int:
    """Bytes that the oldest upload can always get: the largest of the smallest parts in use."""
    uploads = [route for route in config.route if isinstance(route, UploadRoute)]
    parts = [_least_part(config, each, n) for each in uploads for n in (each.store, *each.stores)]
    return max(parts, default=0)


def least_budget(config: Config) -> int:
    """The smallest memory.budget that holds the reserve, the windows and one slab more."""
    slab, reserve = config.memory.slab, memory_reserve(config)
    windows = max(slab, config.memory.budget // WINDOW_SHARE)
    return -(-reserve // slab) * slab + windows + 2 * slab


def _least_part(config: Config, route: UploadRoute, name: str) -> int:
    """A directory takes parts of any size; equal parts leave no room for smaller ones.

    Those of more than half the memory are collected on disk, where there is enough of it.
    """
    store, memory = config.store.get(name), config.memory
    if isinstance(store, S3Store) and store.equal_parts:
        part = route.part_size or store.part_size
        is_on_disk = 2 * part > memory.budget and part <= memory.spill_budget - memory.slab
        return S3_MIN_PART if is_on_disk else part
    if isinstance(store, S3Store):
        return S3_MIN_PART
    return S3_MIN_PART if route.allowed_hosts else 1


def _rounded(size: int) -> str:
    return f"{size / MiB:,.0f}MiB"
