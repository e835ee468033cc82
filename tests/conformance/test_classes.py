"""Each of the 45 classes of faults is tested where the table in README.md says."""

import re
import tomllib

import pytest

from tests.conformance.classes import HERE, PLACES
from tests.support.child import REPOSITORY


def test_no_class_is_missing() -> None:
    assert list(PLACES) == list(range(1, 46))


@pytest.mark.parametrize("number", PLACES)
def test_what_tests_a_class_exists(number: int) -> None:
    assert PLACES[number]
    for place in PLACES[number]:
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
    assert files <= {place for places in PLACES.values() for place in places}
