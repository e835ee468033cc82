"""`fastproxy serve`."""

import logging
import os
import sys
from collections.abc import Sequence

from fastproxy.config.check import load_judged
from fastproxy.config.overrides import Override
from fastproxy.config.problems import ConfigProblems
from fastproxy.config.schema import Config
from fastproxy.service.master import run_master

log = logging.getLogger(__name__)


def run(path: str, flags: Sequence[Override]) -> int:
    """Run until stopped. The configuration is read again, with the same flags, at each reload."""

    def load() -> Config:
        config, warnings = load_judged(path, flags=flags)
        for warning in warnings:  # at the start the log is not open yet: plain on standard error
            log.warning("%s", warning)
        return config

    try:
        return run_master(load)
    except ConfigProblems as problems:
        for problem in problems.problems:
            print(f"fastproxy: {problem}", file=sys.stderr)
        return os.EX_CONFIG
