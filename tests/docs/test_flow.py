"""docs/flow.md uses names that exist, and forgets no handler."""

import importlib
import re
from functools import reduce
from pathlib import Path
from typing import get_args

import pytest

from fastproxy.config.schema import AnyRoute

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "flow.md").read_text("utf-8")
STEPS = re.findall(r"^[ |]*([\w/]+\.pyx?) +([\w.]+)", TEXT, re.MULTILINE)
ASIDES = re.findall(r"`([\w/]+\.pyx?)` \(`(\w+)`\)", TEXT)


@pytest.mark.parametrize(("file", "name"), [*STEPS, *ASIDES])
def test_every_name_of_the_chart_exists(file: str, name: str) -> None:
    source = (ROOT / "fastproxy" / file).read_text("utf-8")
    module = importlib.import_module("fastproxy." + file.partition(".")[0].replace("/", "."))
    *owner, last = name.split(".")
    holder = reduce(getattr, owner, module)
    # Methods that are C functions only are not in the class; they are in the source.
    assert hasattr(holder, last) or re.search(rf"^    (def|cdef .*) {last}\(", source, re.MULTILINE)


def test_every_file_that_is_mentioned_exists() -> None:
    for file in re.findall(r"[\w/]+\.pyx?", TEXT):
        places = [ROOT / "fastproxy" / file, ROOT / "fastproxy" / "storage" / file]
        assert any(place.is_file() for place in places), file


def test_every_action_of_a_route_is_in_the_chart() -> None:
    actions = {route.__struct_config__.tag for route in get_args(AnyRoute)}
    handlers = " ".join(file for file, _ in STEPS)
    found = {action for action in actions if action in handlers}
    assert actions == found
    assert len(STEPS) > 20
