"""Which paths of an application take uploads, for the two middlewares."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Allow = TypeVar("Allow")


@dataclass(frozen=True, slots=True)
class UploadRoute(Generic[Allow]):
    """Requests whose decoded path is wholly matched by the regular expression `path`.

    `allow` answers whether an upload may happen. `max_size` in bytes is refused before `allow` is
    asked, and again when the file is there. Other methods pass to the application untouched.
    """

    path: str | re.Pattern[str]
    allow: Allow
    max_size: int | None = None
    methods: frozenset[str] = field(default=frozenset(("PUT", "POST")))
    is_form: bool = False  # fastproxy's route has action = "form"


class Found(NamedTuple, Generic[Allow]):
    """A request to an upload route: the question, or (else) the report."""

    route: UploadRoute[Allow]
    is_question: bool


def find(
    routes: Sequence[UploadRoute[Allow]], method: str, path: str, suffix: str
) -> Found[Allow] | None:
    """The route of a request, None when it is no upload. What can be a question is one."""
    asked = path.removesuffix(suffix)
    for route in routes:
        if method not in route.methods:
            continue
        # fastproxy puts the suffix in place of a last slash
        if asked != path and any(re.fullmatch(route.path, each) for each in (asked, asked + "/")):
            return Found(route, is_question=True)
        if re.fullmatch(route.path, path):
            return Found(route, is_question=False)
    return None
