"""The table: every figure, our ratio to it, and what the targets say."""

from benchmarks.question import OURS, Question, Target
from benchmarks.runner import Findings

COLUMNS = (OURS, "nginx", "HAProxy", "Caddy", "TCP relay")
NOTICEABLE = 0.02  # share of the cores that others may take without a remark
HEAD = ("question", "unit", *COLUMNS, "others", "target")


def number(value: float) -> str:
    """With three significant digits, never with an exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def cell(name: str, figures: dict[str, float]) -> str:
    """A figure, and in brackets ours as a multiple of it."""
    if name not in figures:
        return "-"
    if name == OURS or OURS not in figures or not figures[name]:
        return number(figures[name])
    return f"{number(figures[name])} ({figures[OURS] / figures[name]:.2f})"


def verdict(target: Target, figures: dict[str, float]) -> str:
    """What was wanted, what was found, and whether that is good."""
    sign = ">=" if target.at_least else "<="
    wanted = f"{sign} {target.limit:g}" + (f" x {target.than}" if target.than else "")
    found = target.compare(figures)
    if found is None:
        return f"{wanted}: not measured"
    mark = "met" if target.is_met(figures) else "NOT MET"
    return f"{wanted}: {mark} ({found:.2f})" if target.than else f"{wanted}: {mark}"


def row(question: Question, figures: dict[str, float]) -> tuple[str, ...]:
    """The cells of one question."""
    others = [f"{name} {cell(name, figures)}" for name in figures if name not in COLUMNS]
    verdicts = [verdict(target, figures) for target in question.targets]
    cells = (cell(name, figures) for name in COLUMNS)
    return (question.title, question.unit, *cells, "; ".join(others), "; ".join(verdicts))


def table(findings: Findings) -> str:
    """Everything that was measured, in Markdown, and what was not."""
    rows = [HEAD, *(row(question, found) for question, found in findings.figures.items())]
    widths = [max(len(line[column]) for line in rows) for column in range(len(HEAD))]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    lines += ["", f"In brackets: {OURS}'s figure as a multiple of this one."]
    known = "; ".join(f"{each.title}: {each.known}" for each in findings.figures if each.known)
    if known:
        lines.append(f"For orientation, not of this run: {known}.")
    if findings.bystanders >= NOTICEABLE:
        share = f"{findings.bystanders:.0%}"
        lines.append(
            f"Other programs took {share} of the cores: CPU may do, times are not to be trusted."
        )
    return "\n".join([*lines, *findings.left_out, *findings.failures])
