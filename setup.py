"""Only the compiled rooms; everything else is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

# FASTPROXY_SANITIZE=1 builds under AddressSanitizer (tests/isolated/asan.sh runs it).
sanitize = os.environ.get("FASTPROXY_SANITIZE") == "1"
flags = ["-O1", "-g", "-fsanitize=address", "-fno-omit-frame-pointer"] if sanitize else ["-O3"]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "fastproxy._chunker",
                ["fastproxy/_chunker.pyx"],
                extra_compile_args=flags,
                extra_link_args=["-fsanitize=address"] if sanitize else [],
            )
        ],
        compiler_directives={"language_level": 3, "embedsignature": True},
    )
)
