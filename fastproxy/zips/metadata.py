"""GitLab's list of what is in an artifact: gzip of strings, each behind its length (uint32, big).

    "GitLab Build Artifacts Metadata 0.0.2\\n"   "{}"   then for each path in the order of its bytes
    path    {"modified":..,"mode":"644","crc":..,"size":..,"zipped":..,"comment":".."}\\n

Folders that the archive does not name are added with an empty object. Members and the bytes kept
are limited: a name of 64 KiB made of slashes would otherwise stand for 32,000 folders.
"""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from fastproxy.zips.directory import (
    DEFAULT_LIMITS,
    Limits,
    Member,
    Place,
    ReadRange,
    TooLarge,
    members,
    modified,
    permissions,
)

_VERSION: Final = b"GitLab Build Artifacts Metadata 0.0.2\n"
_NO_ERRORS: Final = b"{}"
_FOLDER: Final = b"{}\n"
_PATHS_AT_ONCE: Final = 1000  # then others have their turn
_GZIP: Final = 16 + zlib.MAX_WBITS


class _About(msgspec.Struct, omit_defaults=True):
    """In the order of Workhorse's; what is nothing is left out."""

    modified: int = 0
    mode: str = ""
    crc: int = 0
    size: int = 0
    zipped: int = 0
    comment: str = ""


_encode = msgspec.json.Encoder().encode


async def gitlab_metadata(
    read: ReadRange, place: Place, limits: Limits = DEFAULT_LIMITS
) -> tuple[bytes, int]:
    """The metadata file, and how many members it lists. Raises NotAZip and TooLarge."""
    about: dict[bytes, bytes] = {}
    count = kept = 0
    async for batch in members(read, place, limits):
        count += len(batch)
        for member in batch:
            kept += _add(about, member, limits.directory_bytes - kept)
        await asyncio.sleep(0)
    return await _compress(about), count


def _add(about: dict[bytes, bytes], member: Member, room: int) -> int:
    """Keep a member and the folders it is in; returns what that took. Raises TooLarge."""
    took = 0
    if about.get(member.name) in (None, _FOLDER):  # of two with one name the first is served
        about[member.name] = _describe(member)
        took += len(member.name) + len(about[member.name])
    for folder in _folders(member.name):
        if folder in about:
            break  # and so are those above
        about[folder] = _FOLDER
        took += len(folder)
        if took > room:
            raise TooLarge("the paths together")
    if took > room:
        raise TooLarge("the paths together")
    return took


def _folders(name: bytes) -> Iterator[bytes]:
    """From the innermost to the outermost, each with its slash."""
    at = name.rstrip(b"/").rfind(b"/")
    while at > 0:
        yield name[: at + 1]
        at = name.rfind(b"/", 0, at)


def _describe(member: Member) -> bytes:
    about = _About(
        modified(member),
        f"{permissions(member):o}",
        member.crc,
        member.size,
        member.packed,
        member.comment.decode("utf-8", "replace"),
    )
    return _encode(about) + b"\n"


async def _compress(about: dict[bytes, bytes]) -> bytes:
    gzip = zlib.compressobj(wbits=_GZIP)
    out = [gzip.compress(_string(_VERSION) + _string(_NO_ERRORS))]
    paths = sorted(about)
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        some = paths[start : start + _PATHS_AT_ONCE]
        out.append(gzip.compress(b"".join(_string(path) + _string(about[path]) for path in some)))
        await asyncio.sleep(0)
    out.append(gzip.flush())
    return b"".join(out)


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text
