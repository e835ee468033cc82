"""Which encoded form of a file a client wants (RFC 9110 section 12.5.3)."""

import re
from collections.abc import Sequence
from typing import Final

from fastproxy.message import RequestHead

SUFFIXES: Final = {"br": b".br", "zstd": b".zst", "gzip": b".gz"}
_ITEM: Final = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=([01](?:\.[0-9]{0,3})?))?[ \t]*"
).fullmatch


def wanted_codings(head: RequestHead, offered: Sequence[str]) -> list[str]:
    """Those of `offered` that are better for the client than none, the best first.

    Of equals the first that is offered. What cannot be read is left out.
    """
    qualities = _qualities(head)
    anything = qualities.get("*", 0.0)
    ranked = [(qualities.get(coding, anything), coding) for coding in offered]
    least = qualities.get("identity", 0.0)
    usable = [(quality, coding) for quality, coding in ranked if quality > 0 and quality >= least]
    return [coding for _, coding in sorted(usable, key=lambda item: -item[0])]


def _qualities(head: RequestHead) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in head.headers:
        if name.lower() == b"accept-encoding":
            for item in value.decode("latin-1").split(","):
                if match := _ITEM(item):
                    coding = match[1].lower().removeprefix("x-")
                    found[coding] = min(float(match[2] or 1), 1.0)
    return found
