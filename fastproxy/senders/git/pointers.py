"""Whether an archive holds pointers of git LFS in place of files: git itself is asked."""

from typing import Final

from fastproxy.git.orders import Archive
from fastproxy.handlers.git.kit import GitRoom

# What gitattributes(5) has for such names. Nothing finer: lines are whoever's who pushed them, and
# what only looks like it is told apart afterwards.
_DECLARED: Final = "filter=lfs"
_ATTRIBUTES: Final = ":(top,glob)**/.gitattributes"
# It ends at the first of them.
_REFUSING: Final = (
    ("filter.lfs.process", ""),
    ("filter.lfs.smudge", "false"),
    ("filter.lfs.required", "true"),
)
_REFUSED: Final = "smudge filter lfs failed"


async def may_have_pointers(room: GitRoom, order: Archive) -> bool:
    """Whether the commit has names that are for git LFS. Raises GitBusy, GitFailed."""
    searching = ("grep", "--quiet", "--text", "--fixed-strings", "-e", _DECLARED)
    process = await room.start(order.repository, (*searching, order.commit, "--", _ATTRIBUTES))
    async with process:
        process.inlet.close()
        return not await process.ended()


async def has_pointers(room: GitRoom, order: Archive) -> bool:
    """Made for nobody, so where it may have any. Raises GitBusy, GitFailed."""
    arguments = ("archive", "--format=tar", "--end-of-options", *order.contents)
    process = await room.start(order.repository, arguments, settings=_REFUSING)
    async with process:
        process.inlet.close()
        process.outlet.discard()
        return bool(await process.ended()) and _REFUSED in process.complaints.text
