"""What CI jobs upload, as far as sizes go: mostly small, a few very large.

Lognormal with a median of 100 KiB and a sigma of 1.8, cut to 10 KiB to 20 MiB: two thirds are below
220 KiB, one in a hundred is above 6 MiB and brings a quarter of all bytes; the mean is 475 KiB.
"""

import math
import random
from typing import Final

from benchmarks.pattern import Body

MEDIAN: Final = 100 * 1024
SIGMA: Final = 1.8
SMALLEST: Final = 10 * 1024
LARGEST: Final = 20 << 20


def bodies(first: int, count: int) -> list[Body]:
    """The bodies numbered from `first` on; the same ones in every run."""
    chance = random.Random(first)
    sizes = (chance.lognormvariate(math.log(MEDIAN), SIGMA) for _ in range(count))
    return [
        Body(number, int(min(max(size, SMALLEST), LARGEST)))
        for number, size in enumerate(sizes, first)
    ]
