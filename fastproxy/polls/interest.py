"""What a request wants to know of: a key, and the value of it that its client has seen."""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from fastproxy.message import RequestHead

MAX_BYTES: Final = 1024  # of either; whoever needs more polls unheld

Reader = Callable[[RequestHead, bytes], str]

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def make_reader(source: str) -> Reader:
    """A reader of "json:FIELD", "header:NAME" or "query:NAME": "" for what is not there.

    A field of JSON counts when it is text and the body is declared to be JSON. Raises ValueError
    for another `source`.
    """
    kind, colon, name = source.partition(":")
    if not colon or not name:
        raise ValueError(f'"{source}" is none of json:FIELD, header:NAME and query:NAME')
    if kind == "json":
        return lambda head, body: _json_field(head, body, name)
    if kind == "header":
        lower = name.lower().encode("latin-1", "replace")
        return lambda head, body: (head.header(lower) or b"").decode("latin-1")
    if kind == "query":
        return lambda head, body: _query_field(head.target, name)
    raise ValueError(f'"{source}" is none of json:FIELD, header:NAME and query:NAME')


def _json_field(head: RequestHead, body: bytes, name: str) -> str:
    media_type = (head.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        return ""
    try:
        raw = _decode(body).get(name)
        return "" if raw is None else _decode_text(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _query_field(target: bytes, name: str) -> str:
    query = target.partition(b"?")[2].decode("latin-1")
    try:
        return dict(parse_qsl(query, max_num_fields=100)).get(name, "")
    except ValueError:  # too many
        return ""
