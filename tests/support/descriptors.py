"""The descriptors of a process.

To be compared by what is new: the collector of cycles closes, at any time, what earlier tests of
the same process left.
"""

import os
from contextlib import suppress


def descriptors(pid: int | str = "self") -> set[tuple[str, str]]:
    """Number and object of each; a number that was given again is with another object."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed since, like the one by which they were listed
            found.add((fd, os.readlink(f"/proc/{pid}/fd/{fd}")))
    return found
