"""The table in README.md: each class of faults, and where its rule is tested."""

import re
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
_ROW = re.compile(r"^\| (\d+) \| (.+?) \|.*\| (.+) \|$", re.MULTILINE)
_FOUND = _ROW.findall(README.read_text())
TITLES = {int(number): title for number, title, _ in _FOUND}
PLACES = {int(number): re.findall(r"`([^`]+)`", places) for number, _, places in _FOUND}
_REQUESTS = "tests/conformance/test_requests.py"
_RESPONSES = "tests/conformance/test_responses.py"


def tests_of(number: int) -> tuple[list[str], str]:
    """The files that hold the tests of a class, and what pytest's -k picks them by."""
    chosen = [_chosen(number, place) for place in PLACES[number]]
    return sorted({file for file, _ in chosen}), " or ".join(sorted({name for _, name in chosen}))


def _chosen(number: int, place: str) -> tuple[str, str]:
    file, _, name = place.partition("::")
    if file.startswith("responses/"):
        return _RESPONSES, f"[{number:02}-"
    if file.startswith("cases/") or file == "limits.py":
        return _REQUESTS, f"[{number:02}-"
    if name == "_odd_responses":
        return _RESPONSES, "test_odd_spellings_in_answers_end_as_they_must"
    if file == "obfuscations.py":
        kind = name.strip("_").replace("_", " and ")
        return _REQUESTS, f"(test_odd_spellings_end_as_they_must and {kind})"
    return (file if file.startswith("tests/") else f"tests/conformance/{file}"), name
