"""Only the compiled rooms; everything else is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# FASTPROXY_SANITIZE=1 builds under the sanitizers (tests/isolated/asan.sh runs it).
SANITIZERS = ["-fsanitize=address,undefined"] if os.environ.get("FASTPROXY_SANITIZE") == "1" else []
# Symbols stay; line numbers (Python asks for them) would cost a third of the compiler's time.
FLAGS = [*SANITIZERS, "-O1", "-g", "-fno-omit-frame-pointer"] if SANITIZERS else ["-O3", "-g0"]
# FASTPROXY_COMPILE=0 leaves that to a later build_ext (scripts/setup): for an installation in place
# pip compiles in a directory that it throws away, and the next build would begin anew.
COMPILES = os.environ.get("FASTPROXY_COMPILE") != "0"
CORES = len(os.sched_getaffinity(0))

# What a proxied request passes. Those in Python are compiled as they stand; a .pxd beside one says
# which of its classes have C attributes and methods.
ROOMS = [
    "_chunker.pyx",
    "exchange.py",
    "express/lane.pyx",
    "express/log_line.pyx",
    "express/output.pyx",
    "express/ways.pyx",
    "front/body.py",
    "front/clients.py",
    "front/connection.py",
    "front/context.py",
    "front/entrance.py",
    "front/heads.py",
    "front/life.py",
    "front/link.py",
    "front/pace.py",
    "front/secure/channel.py",
    "front/secure/life.py",
    "front/secure/reading.py",
    "front/secure/records.py",
    "handlers/forwarded.py",
    "handlers/proxy/proxy_pass.py",
    "loop/deadlines.py",
    "loop/readiness.pyx",
    "memory/account.py",
    "memory/arena.py",
    "memory/blocks.py",
    "memory/buffered_part.py",
    "memory/eviction.py",
    "memory/growth.py",
    "memory/line.py",
    "memory/policy.py",
    "memory/spill.py",
    "memory/upload_buffer.py",
    "message.py",
    "observe/metrics.py",
    "observe/request_id.py",
    "routes.py",
    "shortcut.py",
    "upstream/connection.py",
    "upstream/link.py",
    "upstream/pool.py",
    "wire/chunked.pyx",
    "wire/date.py",
    "wire/framing.py",
    "wire/head.pyx",
    "wire/kernel.pyx",
    "wire/names.pyx",
    "wire/plain.pyx",
    "wire/scratch.py",
    "wire/serialize.py",
    "worker/dispatch.py",
    "worker/reporting.py",
]


def extension(path: Path) -> Extension:
    return Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        depends=["fastproxy/_slabs.pxi"] if path.name == "_chunker.pyx" else [],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS,
    )


# Under the sanitizers go the rooms with C of their own, and what they are made of.
UNSAFE = [
    "_chunker.pyx",
    "express/lane.pyx",
    "express/log_line.pyx",
    "express/output.pyx",
    "express/ways.pyx",
    "loop/readiness.pyx",
    "message.py",
    "wire/chunked.pyx",
    "wire/head.pyx",
    "wire/kernel.pyx",
    "wire/names.pyx",
    "wire/plain.pyx",
]

# In a checkout also what generates the load of benchmarks. It is in no wheel, and wheels take all
# that is in the directory for what was built: in place has one of its own.
IS_IN_PLACE = not {"--inplace", "-i"}.isdisjoint(sys.argv)
LOAD = [Path("benchmarks", "drive.pyx")] if IS_IN_PLACE else []
BUILT = {"build_lib": "build/in-place"} if IS_IN_PLACE else {}

SOURCES = [Path("fastproxy", room) for room in (UNSAFE if SANITIZERS else ROOMS)] + LOAD

setup(
    ext_modules=cythonize(
        [extension(source) for source in SOURCES if COMPILES],
        build_dir="build",
        nthreads=CORES,
        compiler_directives={
            "language_level": 3,
            "embedsignature": True,
            "annotation_typing": False,  # they are for mypy; the .pxd files are for C
        },
    ),
    options={"build_ext": {"parallel": CORES, **BUILT}},
)
