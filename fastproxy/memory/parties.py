"""The two parties of an upload's buffer: what its store needs, and what its socket is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Needs(Protocol):
    """What parts must look like. Sizes in bytes."""

    @property
    def min_part(self) -> int: ...
    @property
    def part_size(self) -> int: ...
    @property
    def max_part(self) -> int: ...
    @property
    def max_parts(self) -> int: ...
    @property
    def equal_parts(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Signals:
    """What the socket is told."""

    on_pause: Callable[[], None]
    on_resume: Callable[[], None]
