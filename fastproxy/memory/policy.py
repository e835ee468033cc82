"""Who gets memory. Pure: no clock, no sockets, no I/O; the arena tells what is free and obeys.

Why it cannot deadlock: every slab is held by a complete part (ends by its store's answer or
deadline), by a tail that can be spilled while there is disk, or by a paused tail. Of the paused the
oldest owns the reserve, enough to complete a part, which then flies and gives its memory back.
Parts that the reserve does not hold and that cannot be cut stand in a line, see line.py.
"""

import heapq
from itertools import count

from msgspec import Struct

from fastproxy.memory.account import DONE, HELD, LINED, QUEUED, READING, Account, Standing
from fastproxy.memory.growth import GrowthOrder
from fastproxy.memory.line import Line

TURNS = 8  # epochs while the pool turns over once


class Marks(Struct, frozen=True):
    """The configured limits: slabs, blocks of disk, shares of slabs, uploads that may wait."""

    slabs: int
    blocks: int
    reserve: int
    low_water: float
    high_water: float
    flying_share: float
    queue: int


class Policy:
    """Decides who takes, who spills, who waits, who goes on, and who owns the reserve.

    `free` is always the pool's free slabs at the moment of the call.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._turn = max(1, marks.slabs // TURNS)
        self._taken = 0
        self._tickets = count()
        self._order = GrowthOrder()
        self._places: dict[Standing, list[tuple[int, int, Account]]] = {
            QUEUED: [],
            LINED: [],
            HELD: [],
        }
        self._waiting = dict.fromkeys(self._places, 0)
        self._owner: Account | None = None
        self._owned = 0  # slabs the owner took since the reserve is its own
        self._grounded: list[Account] = []  # held for their store, and nothing of theirs flies
        self.flying = 0
        self.share = int(marks.slabs * marks.flying_share)
        self.reserve = marks.reserve
        self.line = Line(marks.slabs - marks.reserve, marks.blocks)

    @property
    def low(self) -> int:
        """Free slabs under which tails are sent away ..."""
        kept = self.reserve + self.line.kept
        return kept + max(1, int((self._marks.slabs - kept) * self._marks.low_water))

    @property
    def high(self) -> int:
        """... until so many are free."""
        kept = self.reserve + self.line.kept
        return max(self.low, kept + int((self._marks.slabs - kept) * self._marks.high_water))

    @property
    def owner(self) -> Account | None:
        """Whose the reserve is, until it completed a part."""
        return self._owner

    @property
    def queued(self) -> int:
        """Uploads that wait for memory."""
        return self._waiting[QUEUED] + self._waiting[LINED]

    @property
    def paused(self) -> int:
        """Uploads that wait for memory or for their store."""
        return self.queued + self._waiting[HELD]

    def oldest_paused(self) -> Account | None:
        """The upload that waits and was opened first."""
        heads = map(self._head, self._places)
        return min((h for h in heads if h is not None), key=lambda a: a.age, default=None)

    # --- coming and going

    def may_open(self, free: int, disk_is_full: bool) -> bool:
        """Is there hope for one more upload?"""
        is_full = disk_is_full and self.spare(None, free) <= 0
        return not (is_full and self.queued >= self._marks.queue)

    def open(self, account: Account) -> None:
        """An upload begins."""
        if account.claim:
            self.line.join(account)

    def end(self, account: Account) -> None:
        """The upload takes no more bytes. Idempotent."""
        if account.standing is DONE:
            return
        self._leave(account, DONE)
        self.emptied(account)
        self.line.leave(account)

    # --- memory taken and given back

    def spare(self, account: Account | None, free: int) -> int:
        """Slabs that this upload may take: what is free but for what is kept for others."""
        reserved, kept = max(0, self.reserve - self._owned), self.line.kept
        if account is not None and account is self._owner:
            return max(free - kept, min(free, reserved))
        if account is not None and account is self.line.head:
            return free - reserved
        return free - reserved - kept

    def ask(self, account: Account, free: int) -> bool:
        """May it take one more slab? If not, it waits from now on."""
        if account.standing is not READING:
            return False
        if account.flying and self.flying >= self.share:
            self._wait(account, HELD)
        elif self.spare(account, free) <= 0 or not self._has_turn(account):
            self.pause(account)
        return account.standing is READING

    def _has_turn(self, account: Account) -> bool:
        return not account.claim or self.line.admits(account)

    def ahead(self, account: Account, free: int) -> int:
        """Slabs it may take before bytes come for them, and give back: those above low water.

        Who may stand in line or owns the reserve takes only what it fills.
        """
        return 0 if account.claim or account is self._owner else max(0, free - self.low)

    def took(self, account: Account, slabs: int) -> None:
        """It took slabs from the pool."""
        self.line.hold(account, account.held + slabs, account.disk)
        self._taken += slabs
        if self._taken >= self._turn:
            self._taken %= self._turn
            self._order.advance()
        if account is self._owner:
            self._owned += slabs
            if account.is_endless and self._owned >= self.reserve:
                self.disown()  # the reserve did not complete it: spill it like others
        self.grew(account)

    def grew(self, account: Account) -> None:
        """Bytes arrived. The owner's tail is not for spilling."""
        if account.held and account is not self._owner:
            self._order.touch(account)

    def spilling(self, account: Account, disk: int) -> None:
        """Its unfinished part has `disk` blocks now; memory comes back when they are written."""
        self.line.hold(account, account.held, disk)

    def settled(self, account: Account, held: int, disk: int) -> None:
        """After a spill its unfinished part has `held` slabs in memory and `disk` blocks."""
        self.line.hold(account, held, disk)
        self.grew(account)

    def emptied(self, account: Account) -> None:
        """The unfinished part holds nothing: it is complete, or there will be no more."""
        self.line.hold(account, 0, 0)
        self._order.drop(account)
        if account is self._owner:
            self.disown()

    def completed(self, account: Account, slabs: int) -> None:
        """A part is complete and holds `slabs` until it is released."""
        self.emptied(account)
        self.line.step_back(account)
        account.flying += slabs
        self.flying += slabs

    def landed(self, account: Account, slabs: int) -> None:
        """Slabs of a complete part were given back."""
        account.flying -= slabs
        self.flying -= slabs
        if account.standing is HELD and not account.flying:
            self._grounded.append(account)

    # --- choices

    def victim(self) -> Account | None:
        """Whose tail leaves memory next; it is out of the order until it grows again."""
        return self._order.pop()

    def pause(self, account: Account) -> None:
        """Stop a reading upload for want of memory."""
        self._wait(account, LINED if account.claim else QUEUED)

    def resumable(self, free: int, limit: int, is_stuck: bool) -> list[Account]:
        """Who goes on now, oldest first: at most `limit` of those who wait for memory.

        `is_stuck`: no memory is on its way back from a spill, so only the reserve helps.
        """
        resumed = self._resume_held()
        resumed += self._resume_queued(free, limit, is_stuck)
        return resumed + self._resume_lined(free, limit - len(resumed))

    def _resume_held(self) -> list[Account]:
        """As many as the flying share has room for their parts."""
        resumed = [account for account in self._grounded if account.standing is HELD]
        self._grounded.clear()
        for account in resumed:
            self._leave(account, READING)
        room = self.share - self.flying
        while room > 0 and (head := self._head(HELD)) is not None:
            room -= max(1, head.flying, head.held)
            self._leave(head, READING)
            resumed.append(head)
        return resumed

    def _resume_queued(self, free: int, limit: int, is_stuck: bool) -> list[Account]:
        resumed: list[Account] = []
        owner = self._owner
        if owner is not None and owner.standing is QUEUED and self.spare(owner, free) > 0:
            self._leave(owner, READING)
            resumed.append(owner)
        if self.spare(None, free) > 0:
            while len(resumed) < limit and (account := self._head(QUEUED)) is not None:
                self._leave(account, READING)
                resumed.append(account)
        elif is_stuck and free > 0 and (heir := self._heir()) is not None:
            self._own(heir)
            resumed.append(heir)
        return resumed

    def _resume_lined(self, free: int, limit: int) -> list[Account]:
        """The head of the line whatever the limit; those behind it while there is room for them."""
        resumed: list[Account] = []
        head = self.line.head
        if head is not None and head.standing is LINED and self.spare(head, free) > 0:
            self._leave(head, READING)
            resumed.append(head)
        while len(resumed) < limit and (account := self._head(LINED)) is not None:
            if self.spare(account, free) <= 0 or not self.line.admits(account):
                break
            self._leave(account, READING)
            resumed.append(account)
        return resumed

    def _heir(self) -> Account | None:
        """Who owns the reserve next; an older upload gets it from one that took nothing of it."""
        head, owner = self._head(QUEUED), self._owner
        if head is None or owner is None:
            return head
        return head if self._owned == 0 and head.age < owner.age else None

    def _own(self, account: Account) -> None:
        """Its tail stays in memory from now on: what the reserve holds must not split up."""
        self.disown()
        self._order.drop(account)
        self._owner = account
        self._leave(account, READING)

    def disown(self) -> None:
        """The owner of the reserve, if there is one, is one of many again: its tail can leave."""
        owner, self._owner, self._owned = self._owner, None, 0
        if owner is not None:
            self.grew(owner)

    def pass_on(self) -> None:
        """Once a round: an owner that took nothing of the reserve has nothing to send.

        The same goes for the head of the line.
        """
        self.line.pass_on()
        owner = self._owner
        if owner is not None and self._owned == 0 and owner.standing is READING:
            self.disown()

    # --- queues

    def _wait(self, account: Account, standing: Standing) -> None:
        account.standing = standing
        account.ticket = next(self._tickets)
        self._waiting[standing] += 1
        heapq.heappush(self._places[standing], (account.age, account.ticket, account))

    def _leave(self, account: Account, standing: Standing) -> None:
        if account.standing in self._waiting:
            self._waiting[account.standing] -= 1
        account.standing = standing

    def _head(self, standing: Standing) -> Account | None:
        places = self._places[standing]
        while places:
            _, ticket, account = places[0]
            if account.standing is standing and account.ticket == ticket:
                return account
            heapq.heappop(places)
        return None
