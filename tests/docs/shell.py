"""The documents' fenced blocks, and a shell whose `fastproxy` and `python` are ours."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
)


class Block(NamedTuple):
    """One fenced block. `document`: its path beneath the root."""

    document: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """All blocks of these languages, in the order of the documents."""
    return [
        Block(str(document), language, text)
        for document in DOCUMENTS
        for language, text in re.findall(
            r"^```(\w+)\n(.*?)^```$", (ROOT / document).read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        if language in languages
    ]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Ours without settings of fastproxy, with `fastproxy` and `python` first in the path."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, words in {"fastproxy": " -m fastproxy", "python": ""}.items():
        command = programs / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        command.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FASTPROXY_")}
    search = os.pathsep.join([str(ROOT), str(folder)])
    path = f"{programs}:{kept.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONPATH": search, **more}


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a whole in `folder`, with all that it leaves in the background."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text + "\nwait"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
