"""What lives in a worker; a Python handler of fastproxy, so it is counted where it lives."""

import asyncio
import gc
import json
import os
from pathlib import Path

from benchmarks.accounting import resident_bytes
from fastproxy.handlers.python import Request, Response
from fastproxy.loop.deadlines import Timed


async def census(_: Request) -> Response:
    """How many objects, tasks, threads, timers and descriptors there are."""
    gc.collect()
    objects = gc.get_objects()
    found = {
        "pid": os.getpid(),
        "objects": len(objects),
        "tasks": len(asyncio.all_tasks()),
        "timed": sum(issubclass(type(one), Timed) for one in objects),
        **held_by(os.getpid()),
    }
    return Response(200, json.dumps(found), content_type="application/json")


def held_by(pid: int) -> dict[str, int]:
    """What the kernel says that a process holds."""
    proc = Path(f"/proc/{pid}")
    return {
        "resident": resident_bytes(pid),
        "descriptors": len(os.listdir(proc / "fd")),
        "threads": len(os.listdir(proc / "task")),
    }
