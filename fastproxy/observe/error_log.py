"""The event log: standard logging as JSON lines, without secrets and without floods."""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

import orjson

from fastproxy.config.schema import Log
from fastproxy.observe.redaction import redact
from fastproxy.observe.sinks import LOG_MODE

ROOT = "fastproxy"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_MAX_SOURCES = 1024


class JsonFormatter(logging.Formatter):
    """One object a line. `extra` fields follow the fixed ones; every text is redacted."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "msg": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps({key: _clean(value) for key, value in line.items()}).decode()


def _clean(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = redact(value if isinstance(value, str) else repr(value))
    return text.encode("utf-8", "backslashreplace").decode()  # orjson refuses lone surrogates


class RepeatLimit(logging.Filter):
    """Lets `burst` records of one message template through in each `window` of seconds.

    The first one of a later window says in `suppressed` how many were kept back. What names an
    object's `key` always passes: of an object that was left in a store nothing else may tell.
    """

    def __init__(self, burst: int = 20, window: float = 10.0) -> None:
        super().__init__()
        self._burst = burst
        self._window = window
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if "key" in vars(record):
            return True
        source = (record.name, record.levelno, str(record.msg))
        began, count = self._seen.get(source, (record.created, 0))
        if record.created - began >= self._window:
            if count > self._burst:
                record.suppressed = count - self._burst
            began, count = record.created, 0
        if len(self._seen) >= _MAX_SOURCES:
            self._seen.clear()
        self._seen[source] = (began, count + 1)
        return count < self._burst


class ErrorLogHandler(logging.StreamHandler[TextIO]):
    """Standard error or a file that can be opened anew after a rotation. Raises OSError."""

    def __init__(self, target: str) -> None:
        self._target = target
        super().__init__(_open(target))

    def reopen(self) -> None:
        """Follow a log rotation. Keeps the old file when the new one cannot be opened."""
        if self._target == "-":
            return
        fresh = _open(self._target)
        old = self.setStream(fresh)
        if old is not None:
            old.close()

    def close(self) -> None:
        if self._target != "-":
            self.stream.close()
        super().close()


def _open(target: str) -> TextIO:
    if target == "-":
        return sys.stderr
    fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, LOG_MODE)
    return open(fd, "a", encoding="utf-8")  # owned by the handler


def configure(log: Log) -> None:
    """Send the records of this process where `log` says. Raises OSError; then nothing changed."""
    fresh: logging.Handler
    if log.error == "off":
        fresh = logging.NullHandler()
    else:
        fresh = ErrorLogHandler(log.error)
        fresh.setFormatter(JsonFormatter())
        fresh.addFilter(RepeatLimit())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(fresh)
    # Libraries speak only when something is wrong: boto's debug lines hold signed requests.
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(log.level.upper())


def reopen() -> None:
    """Follow a log rotation; says so when that fails."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ErrorLogHandler):
            try:
                handler.reopen()
            except OSError as error:
                logging.getLogger(__name__).error("cannot reopen the error log: %s", error)
