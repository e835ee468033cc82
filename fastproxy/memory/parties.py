"""The two parties of an upload's buffer: what its store needs, and what its socket is told."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


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


def is_rigid(needs: Needs) -> bool:
    """No part but the last can leave before it has its planned size."""
    return needs.equal_parts or needs.max_parts == 1


class Signals(Protocol):
    """What the socket's side is told."""

    def on_pause(self) -> None:
        """Stop reading, at once."""

    def on_resume(self) -> None:
        """From the loop: reading may go on."""

    def on_ready(self) -> None:
        """`next_part` would not wait any more. Once, and only if `tell_when_ready` said so."""


class Callbacks(Struct, frozen=True):
    """Signals for who awaits its parts."""

    on_pause: Callable[[], None]
    on_resume: Callable[[], None]

    def on_ready(self) -> None:
        """Never asked for."""
