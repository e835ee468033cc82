"""An application needs PyJWT, and of fastproxy these few files of plain Python."""

import shutil
import subprocess
import sys
from pathlib import Path

import jwt

import fastproxy

PACKAGE = Path(fastproxy.__file__).parent
NEUTRAL = ("fastproxy.backend", "fastproxy.backend.wsgi", "fastproxy.backend.asgi")


def test_the_package_is_imported_where_nothing_else_is_installed(tmp_path: Path) -> None:
    house = tmp_path / "fastproxy"
    shutil.copytree(PACKAGE / "backend", house / "backend")
    for name in ("__init__.py", "protocol.py"):
        shutil.copy(PACKAGE / name, house)
    (tmp_path / "jwt").symlink_to(Path(jwt.__file__).parent)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {', '.join(NEUTRAL)}"
    # -S -I: no site-packages, nothing of the environment.
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_installed_package_loads_nothing_of_the_proxy() -> None:
    code = (
        f"import sys, {', '.join(NEUTRAL)}; print(sorted(m for m in sys.modules if '.' not in m))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(eval(run.stdout))
    assert not found & {"uvloop", "httptools", "aioboto3", "orjson", "msgspec", "flask", "django"}
