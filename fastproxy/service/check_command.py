"""`fastproxy check`: all problems, or the routes and the memory they may cost."""

import os
from collections.abc import Sequence

from fastproxy.config.check import load_judged
from fastproxy.config.methods import effective_methods
from fastproxy.config.overrides import Override
from fastproxy.config.problems import ConfigProblems, Problem, Severity
from fastproxy.config.schema import Config
from fastproxy.config.worst_case import worst_case
from fastproxy.service.route_effect import describe_effect


def run(path: str, flags: Sequence[Override]) -> int:
    """0 when the configuration can be used, else 78 (EX_CONFIG)."""
    try:
        config, warnings = load_judged(path, flags=flags, imports=True)
    except ConfigProblems as error:
        _print_problems(error.problems)
        return os.EX_CONFIG
    _print_problems(warnings)
    for line in (*_route_lines(config), "", "memory, at worst:"):
        print(line)
    for line in worst_case(config).explain().splitlines():
        print(f"  {line}")
    print(f"\n{path}: good" + (f", {_counted(len(warnings), 'warning')}" if warnings else ""))
    return 0


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if errors:
        print(_counted(errors, "error"))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")


def _route_lines(config: Config) -> list[str]:
    rows = [("", "METHODS", "HOST", "PATH", "DOES")]
    for index, route in enumerate(config.route):
        methods = ",".join(effective_methods(route)) or "any"
        effect = describe_effect(config, route)
        rows.append((str(index), methods, route.host or "any", route.path, effect))
    widths = [max(len(row[at]) for row in rows) for at in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
