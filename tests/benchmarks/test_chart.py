"""The chart is SVG with a bar for every figure, as long as the figure says."""

import xml.etree.ElementTree as ET

from benchmarks.chart import BARS, COLOURS, LABELS, chart
from benchmarks.question import OURS, Peer, Question
from benchmarks.runner import Findings

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figures: dict[str, float]) -> list[ET.Element]:
    """The bars."""

    def ask(peer: Peer, scale: float) -> float:
        raise AssertionError("nobody is asked here")

    picture = ET.fromstring(chart(Findings({Question("one & all", "us", ask, ()): figures})))
    assert "one & all (us)" in [text.text for text in picture.iter(f"{SVG}text")]
    return [each for each in picture.iter(f"{SVG}rect") if each.get("x") == str(LABELS)]


def test_bars_are_as_long_as_their_figures() -> None:
    widths = [float(bar.get("width", "")) for bar in drawn({OURS: 5, "nginx": 20, "HAProxy": 10})]
    assert widths == [BARS / 4, BARS, BARS / 2]


def test_our_bar_is_told_apart() -> None:
    assert [bar.get("fill") for bar in drawn({"nginx": 1, OURS: 2})] == [
        COLOURS[False],
        COLOURS[True],
    ]


def test_nothing_but_zeros_can_be_drawn() -> None:
    assert len(drawn({OURS: 0.0, "nginx": 0.0})) == 2
