"""What lives in a worker; a Python handler of fastproxy, so it is counted where it lives."""

import asyncio
import gc
import json
import os
from pathlib import Path

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
        "timed": sum(issubclass(type(one), Timed) for one in objects),
        **held_by("self"),
    }
    return Response(200, json.dumps(found), content_type="application/json")


def held_by(pid: int | str) -> dict[str, int]:
    """What the kernel says that a process holds."""
    proc = Path(f"/proc/{pid}")
    return {
        "resident": int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(os.listdir(proc / "fd")),
        "threads": len(os.listdir(proc / "task")),
    }
