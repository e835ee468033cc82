"""Repositories and the real git client, with nothing of this machine's own settings."""

import os
import random
import subprocess
from pathlib import Path

CLIENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "LC_ALL": "C",
    # What large files of tests hold does not compress; trying to took most of their time.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.compression",
    "GIT_CONFIG_VALUE_0": "0",
}


def git(*arguments: str | Path, cwd: Path | None = None, check: bool = True) -> str:
    """What git says on both of its outputs."""
    done = subprocess.run(
        ["git", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **CLIENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0 or not check, said
    return said


def commit(tree: Path, name: str, content: bytes) -> str:
    """One more commit in a working tree; its id."""
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_bytes(content)
    git("add", "--all", cwd=tree)
    git("commit", "--quiet", "--message", f"Add {name}", cwd=tree)
    return git("rev-parse", "HEAD", cwd=tree).strip()


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def make_tree(path: Path, commits: int = 3, size: int = 1000) -> Path:
    """A working tree with some history on `main`."""
    git("init", "--quiet", "--initial-branch", "main", path)
    for number in range(commits):
        commit(path, f"file{number}", noise(size, number))
    return path


def make_bare(path: Path, source: Path) -> Path:
    """A bare repository with what `source` has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--bare", source, path)
    return path


def head_of(repository: Path, ref: str = "refs/heads/main") -> str:
    """The commit that a ref of a repository names."""
    return git("rev-parse", ref, cwd=repository).strip()
