"""Rules on listeners, limits, logs and memory."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fastproxy.config.address import parse_listen
from fastproxy.config.load import Source
from fastproxy.config.problems import Problem, Severity
from fastproxy.config.rules.listeners import networks
from fastproxy.config.rules.places import spill_directory, writable_directory
from fastproxy.config.rules.routes import HOST
from fastproxy.config.schema import Config
from fastproxy.config.units import format_size
from fastproxy.config.worst_case import least_budget, workers

_SPARE_FILES: Final = 256  # listeners, logs, journal, spill files of a worker


def check_listeners(config: Config, source: Source) -> Iterator[Problem]:
    """Addresses parse and none is given twice."""
    server, seen = config.server, set()
    if not server.listen:
        yield source.problem(("server", "listen"), "no address to listen on")
    named = [(("server", "listen", at), text) for at, text in enumerate(server.listen)]
    admin = [(("server", "admin_listen"), server.admin_listen)] if server.admin_listen else []
    for key, text in [*named, *admin]:
        try:
            address = parse_listen(text)
        except ValueError as error:
            yield source.problem(key, str(error))
            continue
        if address in seen and (address.path or address.port):
            yield source.problem(key, f'"{text}" is listened on twice')
        seen.add(address)
    for at, host in enumerate(server.admin_hosts):
        if not HOST.fullmatch(host) or "*" in host:
            hint = 'write "web1.example.com", without a port'
            yield source.problem(("server", "admin_hosts", at), f'"{host}" is not a host', hint)


def check_trusted_proxies(config: Config, source: Source) -> Iterator[Problem]:
    """Networks are CIDRs; trusting everybody is said aloud."""
    yield from networks(source, ("server", "trusted_proxies"), config.server.trusted_proxies)


def check_directories(config: Config, source: Source) -> Iterator[Problem]:
    """The state directory and those of log files can be written."""
    if config.server.state_dir:
        yield from writable_directory(source, ("server", "state_dir"), config.server.state_dir)
    for name in ("access", "error"):
        target = getattr(config.log, name)
        if target not in ("-", "off"):
            yield from writable_directory(source, ("log", name), str(Path(target).parent))


def check_limits(config: Config, source: Source) -> Iterator[Problem]:
    """Limits that contradict one another or the system."""
    limits = config.limits
    if limits.target_bytes > limits.header_bytes:
        yield source.problem(("limits", "target_bytes"), "is more than header_bytes allows")
    needed = 2 * limits.connections + _SPARE_FILES
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        message = f"{limits.connections} clients and their backends may need {needed} open files"
        hint = f"the system allows {allowed}: raise LimitNOFILE or lower the limit"
        yield source.problem(("limits", "connections"), message, hint, Severity.WARNING)


def check_slab(config: Config, source: Source) -> Iterator[Problem]:
    """The pool lends whole pages."""
    if config.memory.slab & (config.memory.slab - 1):
        yield source.problem(("memory", "slab"), "must be a power of two", 'e.g. "64KiB"')


def check_marks(config: Config, source: Source) -> Iterator[Problem]:
    """Spilling ends above where it begins."""
    if config.memory.low_water >= config.memory.high_water:
        yield source.problem(("memory", "low_water"), "must be below high_water")


def check_memory(config: Config, source: Source) -> Iterator[Problem]:
    """The budget lets the oldest upload finish a part."""
    memory = config.memory
    needed = least_budget(config)
    if memory.budget < needed:
        message = f"{format_size(memory.budget)} is less than the {format_size(needed)} needed"
        hint = "a part of the least size the stores take, and windows, must fit: else uploads stall"
        yield source.problem(("memory", "budget"), message, hint)


def check_spill(config: Config, source: Source) -> Iterator[Problem]:
    """The spill directory takes what the budget promises."""
    if not config.memory.spill_budget:
        return
    key = ("memory", "spill_dir")
    path = spill_directory(config.memory.spill_dir)
    found = list(writable_directory(source, key, path))
    yield from found
    needed = config.memory.spill_budget * workers(config)
    if not found and (free := shutil.disk_usage(path).free) < needed:
        message = f'"{path}" has {format_size(free >> 20 << 20)} free'
        hint = f"spill_budget x workers is {format_size(needed)}"
        yield source.problem(key, message, hint, Severity.WARNING)
