"""docs/protocol-vectors.json: what fastproxy signs, and how `fastproxy.backend` judges it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fastproxy.backend import Guard, MemoryReplays, Reason, Refused, UploadedForm
from fastproxy.protocol import AUTHORIZE, FORM, decode_secret
from tests.backend.vectors import document

FILE = Path(__file__).parents[2] / "docs" / "protocol-vectors.json"
DOCUMENT = json.loads(FILE.read_text("utf-8"))
CASES = DOCUMENT["cases"]
SECRETS = [decode_secret(text.encode()) for text in DOCUMENT["secret_files"]]


def test_the_file_is_what_its_maker_makes() -> None:
    assert FILE.read_text("utf-8") == document(), "python -m tests.backend.vectors >the file"


def guard(spent: list[str]) -> Guard:
    replays = MemoryReplays(clock=lambda: DOCUMENT["now"])
    for jti in spent:
        assert replays.spend(jti, DOCUMENT["now"] + 100)
    return Guard(SECRETS, replays, clock=lambda: DOCUMENT["now"])


def judged(case: dict[str, Any]) -> Any:
    """What is handed to the application. Raises Refused."""
    door = guard(case["spent"])
    claims = door.verify(case["purpose"], case["method"], case["path"], case["token"])
    if case["purpose"] == AUTHORIZE:
        return door.ask(claims, case["max_size"])
    return door.file(claims, case["body"].encode(), case["max_size"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_each_case_is_judged_as_the_file_says(case: dict[str, Any]) -> None:
    if case["refusal"] is not None:
        with pytest.raises(Refused) as refused:
            judged(case)
        assert refused.value.reason.value == case["refusal"]
        return
    given = dataclasses.asdict(judged(case))
    claims = case["claims"]
    told = claims if case["purpose"] == AUTHORIZE else claims["upload"]
    names = given.keys() - {"name", "field", "filename"}
    assert {name: str(given[name] or "") for name in names} == {
        name: str(told[name] or "") for name in names
    }


@pytest.mark.parametrize("case", DOCUMENT["forms"], ids=lambda case: case["name"])
def test_each_form_is_judged_as_the_file_says(case: dict[str, Any]) -> None:
    def judged() -> UploadedForm:
        door = guard(case["spent"])
        claims = door.verify(FORM, "POST", case["path"], case["token"])
        return door.form(claims, case["body"].encode())

    if case["refusal"] is not None:
        with pytest.raises(Refused) as refused:
            judged()
        assert refused.value.reason.value == case["refusal"]
        return
    assert case["files"] == [
        {"field": field, "name": file.name, "size": file.size} for field, file in judged().files
    ]


def test_names_of_cases_are_different() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)


def test_every_reason_that_a_message_can_give_has_a_case() -> None:
    ours = {Reason.UNCERTAIN, Reason.PLACE, Reason.DENIED}
    assert {case["refusal"] for case in CASES} - {None} == {r.value for r in set(Reason) - ours}


@pytest.mark.parametrize("purpose", ["fastproxy-authorize", "fastproxy-upload"])
def test_a_token_with_any_letter_changed_is_refused(purpose: str) -> None:
    case = next(c for c in CASES if c["purpose"] == purpose and c["refusal"] is None)
    token = case["token"]
    judged(case)
    for place in range(len(token) - 1):  # the last letter has bits that mean nothing
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(Refused):
            judged({**case, "token": token[:place] + other + token[place + 1 :]})
