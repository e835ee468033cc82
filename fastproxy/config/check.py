"""Whether a configuration makes sense: everything a shape alone cannot tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastproxy.config.load import Source, read
from fastproxy.config.overrides import Override
from fastproxy.config.problems import ConfigProblems, Problem, Severity
from fastproxy.config.rules import (
    channels,
    git,
    listeners,
    ranges,
    routes,
    sending,
    server,
    services,
    waiting,
)
from fastproxy.config.schema import Config

Rule = Callable[[Config, Source], Iterator[Problem]]

RULES: Final[tuple[Rule, ...]] = (
    ranges.check_ranges,
    server.check_listeners,
    server.check_trusted_proxies,
    listeners.check_listener_tables,
    server.check_directories,
    server.check_limits,
    server.check_slab,
    server.check_marks,
    server.check_memory,
    server.check_spill,
    services.check_backends,
    services.check_stores,
    git.check_git,
    sending.check_sending,
    sending.check_pages,
    routes.check_routes,
    routes.check_order,
    routes.check_secret,
    channels.check_channels,
    waiting.check_queues,
    waiting.check_polls,
    waiting.check_redis,
)

# Rules that weigh values against each other, and the tables they take them from.
_COMPARING: Final[dict[Rule, frozenset[str]]] = {
    listeners.check_listener_tables: frozenset(("server",)),
    server.check_limits: frozenset(("limits",)),
    server.check_marks: frozenset(("memory",)),
    server.check_memory: frozenset(("memory", "store", "route")),
    server.check_spill: frozenset(("memory", "server")),
    routes.check_order: frozenset(("route",)),
    git.check_git: frozenset(("git", "route", "backend")),
}


def judge(config: Config, source: Source, *, imports: bool = False) -> list[Problem]:
    """Errors and warnings. `imports` also imports Python handlers.

    Of a broken file: the errors of its good values alone, nothing that follows from a stand-in.
    """
    torn = {str(key[0]) for key in source.broken}
    rules = (*RULES, routes.check_imports) if imports else RULES
    fit = [rule for rule in rules if not _COMPARING.get(rule, frozenset()) & torn]
    found = [problem for rule in fit for problem in rule(config, source)]
    return [problem for problem in found if not torn or _stands(problem, source)]


def _stands(problem: Problem, source: Source) -> bool:
    """Whether it is an error of values that somebody wrote."""
    beneath = (problem.key[:size] for size in range(len(problem.key) + 1))
    return problem.severity is Severity.ERROR and source.broken.isdisjoint(beneath)


def load_judged(
    path: str | Path,
    env: Mapping[str, str] | None = None,
    flags: Sequence[Override] = (),
    *,
    imports: bool = False,
) -> tuple[Config, list[Problem]]:
    """A usable configuration and its warnings. Raises ConfigProblems with errors and warnings."""
    config, source, problems = read(path, env, flags)
    problems += judge(config, source, imports=imports)
    problems.sort(key=lambda problem: problem.line or 0)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise ConfigProblems(problems)
    return config, problems
