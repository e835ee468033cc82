"""How soon a process that died is started again."""

from collections import deque

STEADY_S = 10.0  # a life that long was a success
FIRST_S = 0.1
MAX_S = 5.0
WINDOW_S = 60.0
MAX_DEATHS = 10  # in a window; beyond it every start waits MAX_S


class Backoff:
    """One process slot: at once after a steady life, else twice as late as the last time."""

    def __init__(self) -> None:
        self._failures = 0

    def delay(self, lived_s: float) -> float:
        """Seconds to wait after a life of `lived_s` seconds."""
        if lived_s >= STEADY_S:
            self._failures = 0
            return 0.0
        self._failures += 1
        return min(MAX_S, FIRST_S * 2.0 ** (self._failures - 1))


class DeathRate:
    """All processes together: do they die like flies?"""

    def __init__(self) -> None:
        self._deaths: deque[float] = deque()

    def note(self, now: float) -> bool:
        """One more death; whether there are too many now."""
        deaths = self._deaths
        deaths.append(now)
        while deaths[0] <= now - WINDOW_S:
            deaths.popleft()
        return len(deaths) > MAX_DEATHS
