"""Each of the 45 classes of faults is tested where the table in README.md says."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.child import REPOSITORY

HERE = Path(__file__).parent
_ROW = re.compile(r"^\| (\d+) \|.*\| (.+) \|$", re.MULTILINE)
ROWS = {
    int(n): re.findall(r"`([^`]+)`", w) for n, w in _ROW.findall((HERE / "README.md").read_text())
}


def test_no_class_is_missing() -> None:
    assert list(ROWS) == list(range(1, 46))


@pytest.mark.parametrize("number", ROWS)
def test_what_tests_a_class_exists(number: int) -> None:
    assert ROWS[number]
    for place in ROWS[number]:
        file, _, name = place.partition("::")
        path = (REPOSITORY if file.startswith("tests/") else HERE) / file
        if path.suffix == ".toml":
            assert path.name.startswith(f"{number:02}-")
            assert tomllib.loads(path.read_text())["case"]
        else:
            found = rf"^(?:def {re.escape(name)}\(|{re.escape(name)} = )"
            assert re.search(found, path.read_text(), re.MULTILINE), place


def test_every_data_file_is_in_the_table() -> None:
    files = {str(path.relative_to(HERE)) for path in HERE.glob("*/[0-9]*.toml")}
    assert files <= {place for places in ROWS.values() for place in places}
