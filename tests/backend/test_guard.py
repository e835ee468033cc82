"""What no vector can say: secrets, stores of nonces that fail, and lengths."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastproxy.backend import MAX_BODY, Ask, Guard, MemoryReplays, Reason, Refused, UploadedFile
from fastproxy.backend.guard import announced_length, read_secret
from fastproxy.claims import Signer
from fastproxy.protocol import AUTHORIZE
from tests.backend.honest import SECRET, ask_token, report_of

OLD = b"o" * 32


def guard(**more: Any) -> Guard:
    return Guard(SECRET, MemoryReplays(), **more)


def ask(door: Guard, token: str) -> Ask:
    return door.ask(door.verify(AUTHORIZE, "PUT", "/uploads/a/authorize", token))


@pytest.mark.parametrize("secrets", [b"", b"s" * 31, (), (SECRET, b"short")])
def test_a_secret_that_could_be_guessed_is_refused_at_once(secrets: Any) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Guard(secrets, MemoryReplays())


HEADS = [
    b"[" * 6000,
    b'{"alg":' + b"[" * 1500 + b"]" * 1500 + b"}",
    b'{"alg":{}}',
    b"null",
    b"\xff",
]


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head[:12])
def test_no_head_of_a_token_does_more_than_be_refused(head: bytes) -> None:
    with pytest.raises(Refused):
        ask(guard(), f"{coded(head)}.e30.{coded(b'x' * 32)}")


@given(
    st.text(), st.recursive(st.none() | st.text(), lambda each: st.dictionaries(st.text(), each))
)
@example("\udcff.a.b", None)
def test_no_text_for_a_token_does_more_than_be_refused(text: str, head: Any) -> None:
    for token in (text, f"{coded(json.dumps(head).encode())}.{text}.{text}"):
        with pytest.raises(Refused):
            ask(guard(), token)


def test_while_secrets_are_changed_both_count_and_then_one() -> None:
    both = Guard((SECRET, OLD), MemoryReplays())
    old = Signer(OLD, "fastproxy", 60)
    assert ask(both, ask_token()).name == "a"
    assert ask(both, ask_token(signer=old)).name == "a"
    with pytest.raises(Refused) as refused:
        ask(guard(), ask_token(signer=old))
    assert refused.value.reason is Reason.SIGNATURE


def test_clocks_may_differ_by_the_leeway_and_nonces_are_kept_for_it() -> None:
    now = [1000.0]
    replays = MemoryReplays(clock=lambda: now[0])
    door = Guard(SECRET, replays, leeway_s=5, clock=lambda: now[0])
    token = ask_token(signer=Signer(SECRET, "fastproxy", 60, clock=lambda: 1004.0))
    ask(door, token)
    now[0] = 1068.0
    with pytest.raises(Refused) as refused:
        ask(door, token)
    assert refused.value.reason is Reason.REPLAYED
    now[0] = 1069.0
    with pytest.raises(Refused) as refused:
        ask(door, token)
    assert refused.value.reason is Reason.EXPIRED


class Broken:
    def spend(self, jti: str, until: float) -> bool:
        raise OSError("the store is away")


@pytest.mark.parametrize("replays", [Broken(), MemoryReplays(capacity=0)])
def test_when_nobody_knows_what_was_spent_all_is_refused(replays: Any) -> None:
    with pytest.raises(Refused) as refused:
        ask(Guard(SECRET, replays), ask_token())
    assert (refused.value.reason, refused.value.status) == (Reason.UNCERTAIN, 503)


def test_a_token_for_another_body_is_not_spent() -> None:
    door = guard()
    body, token = report_of()
    claims = door.verify("fastproxy-upload", "PUT", "/uploads/a", token)
    with pytest.raises(Refused, match="another body"):
        door.file(claims, b"{}")
    assert isinstance(door.file(claims, body), UploadedFile)


@pytest.mark.parametrize(("field", "length"), [("0", 0), ("344", 344), (str(MAX_BODY), MAX_BODY)])
def test_a_report_of_that_length_is_read(field: str, length: int) -> None:
    assert announced_length(field) == length


@pytest.mark.parametrize(
    "field",
    [
        None,
        "",
        "-1",
        "+5",
        " 5",
        "5, 5",
        "\N{ARABIC-INDIC DIGIT FIVE}",
        "0x5",
        str(MAX_BODY + 1),
        "9" * 5000,
    ],
)
def test_a_report_of_another_length_is_not_read(field: str | None) -> None:
    with pytest.raises(Refused) as refused:
        announced_length(field)
    assert refused.value.reason is Reason.BODY


def test_a_secret_is_read_as_fastproxy_reads_it(tmp_path: Any) -> None:
    (tmp_path / "coded").write_text("n5PvW05P4ZMcMnngaTQhbAgOAg2SeyaCfrRbbsUoK6A=\n")
    (tmp_path / "raw").write_bytes(SECRET + b"\n")
    assert len(read_secret(tmp_path / "coded")) == 32
    assert read_secret(str(tmp_path / "raw")) == SECRET


def test_a_refusal_is_one_line_and_an_unknown_status_has_a_phrase() -> None:
    assert Refused(Reason.DENIED, "log in", 401).status_line == "401 Unauthorized"
    assert Refused(Reason.DENIED, "log in", 499).status_line == "499 Refused"
    assert Refused(Reason.EXPIRED, "old").text == "403 expired: old\n"


def test_a_log_line_cannot_be_forged_by_a_path(caplog: pytest.LogCaptureFixture) -> None:
    Refused(Reason.MISSING, "no").log("PUT", "/a\nrefused '/b'" + "x" * 5000)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 400
