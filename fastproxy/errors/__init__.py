"""Every failure we name: whose fault, what, which status, and whether a retry is safe.

`detail` is for our log and never sent to a client. Foreign exceptions (httptools, OSError, boto)
are turned into one of these in the room that called the library.
"""

from fastproxy.errors.backend import *  # noqa: F403 - all faults can be had from here
from fastproxy.errors.client import *  # noqa: F403
from fastproxy.errors.fault import *  # noqa: F403
from fastproxy.errors.ours import *  # noqa: F403
from fastproxy.errors.storage import *  # noqa: F403
