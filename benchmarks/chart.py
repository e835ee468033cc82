"""The figures as bars, one group for each question, drawn in SVG."""

from collections.abc import Iterator
from html import escape

from benchmarks.question import OURS, Question
from benchmarks.runner import Findings
from benchmarks.table import number

WIDTH, LABELS, BARS = 860, 190, 520  # of the whole, of the names, of the longest bar
LINE, GAP = 20, 34
COLOURS = {True: "#2a6fdb", False: "#b9c2cf"}


def bar(name: str, value: float, longest: float, top: int) -> str:
    """One contestant's name, bar and figure."""
    width = max(1.0, BARS * value / longest) if longest else 1.0
    return (
        f'<text x="{LABELS - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LABELS}" y="{top + 2}" width="{width:.1f}" height="{LINE - 4}"'
        f' fill="{COLOURS[name == OURS]}"/>'
        f'<text x="{LABELS + width + 6:.1f}" y="{top + 14}">{number(value)}</text>'
    )


def group(question: Question, figures: dict[str, float], top: int) -> Iterator[str]:
    """The title and one bar for each contestant, the longest as wide as there is room."""
    title = f"{question.title} ({question.unit})"
    yield f'<text x="8" y="{top + 14}" font-weight="bold">{escape(title)}</text>'
    for line, (name, value) in enumerate(figures.items(), 1):
        yield bar(name, value, max(figures.values()), top + line * LINE)


def chart(findings: Findings) -> str:
    """All questions, one below the other."""
    parts: list[str] = []
    top = 8
    for question, figures in findings.figures.items():
        parts += group(question, figures, top)
        top += (len(figures) + 1) * LINE + GAP - LINE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}"'
        f' font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
