"""Only the compiled rooms; everything else is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

# FASTPROXY_SANITIZE=1 builds under the sanitizers (tests/isolated/asan.sh runs it).
sanitizers = ["-fsanitize=address,undefined"] if os.environ.get("FASTPROXY_SANITIZE") == "1" else []
flags = [*sanitizers, "-O1", "-g", "-fno-omit-frame-pointer"] if sanitizers else ["-O3"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastproxy._chunker",
                ["fastproxy/_chunker.pyx"],
                depends=["fastproxy/_slabs.pxi"],
                extra_compile_args=flags,
                extra_link_args=sanitizers,
            )
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
    )
)
