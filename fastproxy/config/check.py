"""Whether a configuration makes sense: everything a shape alone cannot tell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastproxy.config.load import Source, load_with_source
from fastproxy.config.overrides import Override
from fastproxy.config.problems import ConfigProblems, Problem, Severity
from fastproxy.config.rules import ranges, routes, server, services
from fastproxy.config.schema import Config

Rule = Callable[[Config, Source], Iterator[Problem]]

RULES: Final[tuple[Rule, ...]] = (
    ranges.check_ranges,
    server.check_listeners,
    server.check_trusted_proxies,
    server.check_directories,
    server.check_limits,
    server.check_memory,
    server.check_spill,
    services.check_backends,
    services.check_stores,
    routes.check_routes,
    routes.check_order,
    routes.check_secret,
)


def judge(config: Config, source: Source, *, imports: bool = False) -> list[Problem]:
    """Errors and warnings in the order of the file. `imports` also imports Python handlers."""
    rules = (*RULES, routes.check_imports) if imports else RULES
    found = [problem for rule in rules for problem in rule(config, source)]
    return sorted(found, key=lambda problem: problem.line or 0)


def load_judged(
    path: str | Path,
    env: Mapping[str, str] | None = None,
    flags: Sequence[Override] = (),
    *,
    imports: bool = False,
) -> tuple[Config, list[Problem]]:
    """A usable configuration and its warnings. Raises ConfigProblems with errors and warnings."""
    config, source = load_with_source(path, env, flags)
    problems = judge(config, source, imports=imports)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise ConfigProblems(problems)
    return config, problems
