"""Where the examples put parts: what an object store's upload_part would be."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class PartSink(Protocol):
    """Takes the parts of named uploads."""

    async def put(self, name: str, number: int, views: Sequence[memoryview]) -> None:
        """Store one part; the views are not used after this returned."""


class FolderSink:
    """Each part is a file: `folder/name.00001`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, number: int, views: Sequence[memoryview]) -> None:
        """Write the part without copying it. Raises OSError."""
        await asyncio.to_thread(self._write, f"{Path(name).name}.{number:05}", views)

    def _write(self, name: str, views: Sequence[memoryview]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / name).open("wb") as file:
            file.writelines(views)
