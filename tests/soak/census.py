"""What lives in a worker; a Python handler of fastproxy, so it is counted where it lives."""

import asyncio
import gc
import json
import os
import threading

from fastproxy.deadlines import Timed
from fastproxy.handlers.python_handler import Request, Response


async def census(_: Request) -> Response:
    """How many objects, tasks, threads, timers and descriptors there are."""
    gc.collect()
    objects = gc.get_objects()
    found = {
        "pid": os.getpid(),
        "objects": len(objects),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "timed": sum(issubclass(type(one), Timed) for one in objects),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": _resident(),
    }
    return Response(200, json.dumps(found), content_type="application/json")


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
