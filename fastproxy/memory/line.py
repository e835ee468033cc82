"""Uploads whose part must be whole before it can move: each can finish, one after another.

A part that cannot be cut may need its whole claim before it gives anything back. The banker's rule
in its simplest form: the head of the line may take all it claims; those behind it hold together no
more than the largest claim leaves. So whoever comes to the head finds room for its claim, as soon
as what can move without it has moved.
"""

import heapq

from fastproxy.memory.account import LINED, Account

STAGING = 16  # slabs kept for the head while its part is collected on disk


class Line:
    """`memory` in slabs beyond the reserve, `disk` in blocks: the larger one holds the claims."""

    def __init__(self, memory: int, disk: int) -> None:
        self.is_on_disk = disk >= memory
        self.capacity = max(memory, disk)
        self._staging = max(1, min(STAGING, memory // 4))
        # Memory that those behind may hold while the disk is kept for the head.
        self._besides = (memory - self._staging) // 2 if self.is_on_disk else 0
        self._members: dict[Account, None] = {}
        self._claims: list[tuple[int, int, Account]] = []  # largest first; some have left
        self._held = 0
        self._disk = 0

    @property
    def head(self) -> Account | None:
        """Who may take all it claims."""
        return next(iter(self._members), None)

    def join(self, account: Account) -> None:
        """It stands at the end."""
        self._members[account] = None
        heapq.heappush(self._claims, (-account.claim, account.age, account))

    def leave(self, account: Account) -> None:
        """It needs no place any more. It holds nothing. Idempotent."""
        self._members.pop(account, None)

    def step_back(self, account: Account) -> None:
        """It holds nothing: a part of it is complete, or it has nothing to send."""
        if account in self._members:
            del self._members[account]
            self._members[account] = None

    def pass_on(self) -> None:
        """A head that holds nothing and waits for nothing gives way."""
        head = self.head
        if head is not None and not head.held + head.disk and head.standing is not LINED:
            self.step_back(head)

    def hold(self, account: Account, held: int, disk: int) -> None:
        """Its unfinished part has so many slabs and blocks now."""
        if account in self._members:
            self._held += held - account.held
            self._disk += disk - account.disk
        account.held, account.disk = held, disk

    @property
    def kept(self) -> int:
        """Slabs that nobody but the head may take."""
        head = self.head
        if head is None:
            return 0
        missing = head.claim - head.disk
        return max(0, (min(self._staging, missing) if self.is_on_disk else missing) - head.held)

    def admits(self, account: Account) -> bool:
        """May it hold one slab more?"""
        head = self.head
        if head is None or account is head:
            return True
        behind = self._held + self._disk - head.held - head.disk
        return behind < self._besides + self._left()

    def may_spill(self, account: Account, blocks: int) -> bool:
        """May it take so many blocks of disk? Without enough disk to finish there: none."""
        head = self.head
        if not self.is_on_disk or head is None or account is head:
            return self.is_on_disk
        return self._disk - head.disk + blocks <= self._left()

    def _left(self) -> int:
        """What the largest claim leaves."""
        while self._claims and self._claims[0][2] not in self._members:
            heapq.heappop(self._claims)
        return self.capacity + self._claims[0][0] if self._claims else self.capacity
