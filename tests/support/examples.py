"""How many examples hypothesis tries: little in the tests, much more when one has the time."""

import os

from hypothesis import settings

_FACTOR = float(os.environ.get("FASTPROXY_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """`count` examples; FASTPROXY_EXAMPLES times as many when that is set."""
    return settings(max_examples=max(1, int(count * _FACTOR)))
