import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config.schema import Log
from fastproxy.observe import error_log
from fastproxy.observe.error_log import JsonFormatter, RepeatLimit

log = logging.getLogger("fastproxy.test")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    error_log.configure(Log(error=str(tmp_path / "error.log")))
    yield tmp_path / "error.log"
    error_log.configure(Log(error="off"))
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("fastproxy").setLevel(logging.NOTSET)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_one_json_line_with_its_extra_fields(path: Path) -> None:
    log.warning("lost %d of %d", 1, 2, extra={"request_id": "r-1", "parts": 3})
    (line,) = lines(path)
    assert line["msg"] == "lost 1 of 2"
    assert line["level"] == "warning"
    assert line["logger"] == "fastproxy.test"
    assert line["request_id"] == "r-1"
    assert line["parts"] == 3


def test_an_exception_comes_with_its_traceback_on_the_same_line(path: Path) -> None:
    try:
        raise ValueError("https://s3/b?X-Amz-Signature=abc")
    except ValueError:
        log.exception("bug")
    (line,) = lines(path)
    assert "ValueError" in line["exception"]
    assert "abc" not in line["exception"]


def test_secrets_are_taken_out_of_messages_arguments_and_extras(path: Path) -> None:
    url = "https://u:pass@s3/b?X-Amz-Signature=hush"
    log.error("put %s failed", url, extra={"url": url, "raw": url.encode()})
    assert "hush" not in path.read_text()
    assert "pass" not in path.read_text()


def test_control_characters_and_broken_text_stay_on_one_line() -> None:
    # Not through a logger: what pytest captures has to be text that can be encoded.
    record = logging.makeLogRecord({"msg": "a\nb\x1b[31m \udcff", "bad\n": "\ud800"})
    text = JsonFormatter().format(record)
    assert text.isprintable()
    assert json.loads(text)["msg"] == "a\nb\x1b[31m \\udcff"


def test_libraries_do_not_chatter(path: Path) -> None:
    logging.getLogger("botocore.auth").info("StringToSign: ...")
    logging.getLogger("botocore.auth").debug("StringToSign: ...")
    assert lines(path) == []


def test_a_rotation_is_followed(path: Path) -> None:
    log.error("first")
    path.rename(path.with_suffix(".1"))
    error_log.reopen()
    log.error("second")
    assert [line["msg"] for line in lines(path)] == ["second"]


def test_a_log_that_cannot_be_opened_leaves_the_old_one(path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        error_log.configure(Log(error="/nowhere/at/all/log"))
    log.error("still here")
    assert len(lines(path)) == 1


def at(moment: float, text: str = "again") -> logging.LogRecord:
    record = logging.makeLogRecord({"msg": text, "name": "x", "levelno": logging.ERROR})
    record.created = moment
    return record


def test_repeats_are_limited_and_counted() -> None:
    limit = RepeatLimit(burst=3, window=10)
    assert [limit.filter(at(0.1 * i)) for i in range(5)] == [True, True, True, False, False]
    assert limit.filter(at(1, "something else"))
    later = at(10.5)
    assert limit.filter(later)
    assert vars(later)["suppressed"] == 2
    afterwards = at(10.6)
    assert limit.filter(afterwards)
    assert "suppressed" not in vars(afterwards)


def test_what_names_an_object_is_never_kept_back() -> None:
    limit = RepeatLimit(burst=3, window=10)
    for number in range(50):
        record = at(0.1, "object kept")
        record.key = f"uploads/{number}"
        assert limit.filter(record)


def test_the_limit_itself_is_bounded() -> None:
    limit = RepeatLimit()
    for i in range(5000):
        assert limit.filter(at(0, f"text {i}"))
    assert len(vars(limit)["_seen"]) <= 1024
