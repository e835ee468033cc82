"""Which upload grew least lately: the order in which tails are spilled."""

from fastproxy.memory.account import NEVER, Account


class GrowthOrder:
    """Uploads with a tail, by the epoch in which they last grew; the largest first among equals.

    An epoch is a stretch of turnover, not of time: an upload that does not grow while the pool
    turns over falls behind. Every operation is O(1); `pop` sorts an epoch once, when it is begun.
    """

    def __init__(self) -> None:
        self._now = 0
        self._epochs: dict[int, dict[Account, None]] = {}
        self._ranked: list[Account] = []  # the oldest epoch, smallest tail first
        self._ranked_epoch = NEVER

    def advance(self) -> None:
        """Begin the next epoch."""
        self._now += 1

    def touch(self, account: Account) -> None:
        """The upload grew just now."""
        if account.epoch == self._now:
            return
        self.drop(account)
        self._epochs.setdefault(self._now, {})[account] = None
        account.epoch = self._now

    def drop(self, account: Account) -> None:
        """The upload has nothing to spill any more. Idempotent."""
        if account.epoch == NEVER:
            return
        members = self._epochs[account.epoch]
        del members[account]
        if not members:
            del self._epochs[account.epoch]
        account.epoch = NEVER

    def pop(self) -> Account | None:
        """Take out the upload to spill next."""
        if not self._epochs:
            return None
        oldest = next(iter(self._epochs))
        if self._ranked_epoch != oldest:
            self._rank(oldest)
        while (account := self._ranked.pop()).epoch != oldest:
            pass  # it grew or ended since the epoch was ranked
        self.drop(account)
        return account

    def _rank(self, epoch: int) -> None:
        if epoch == self._now:  # nobody may join an epoch that is ranked
            self.advance()
        self._ranked = sorted(self._epochs[epoch], key=lambda account: account.held)
        self._ranked_epoch = epoch
