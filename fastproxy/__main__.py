"""`python -m fastproxy` is the same program as the `fastproxy` command."""

import sys

from fastproxy.service.cli import main

if __name__ == "__main__":
    sys.exit(main())
