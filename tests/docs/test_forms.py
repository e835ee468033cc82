"""docs/forms.md as printed: its configuration, its application, its client."""

import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path

from fastproxy.demo.children import Children
from tests.backend.honest import SECRET
from tests.docs.shell import blocks, shell
from tests.flow.upload_site import write_private
from tests.support.harness import proxy
from tests.support.ports import free_port
from tests.support.waiting import eventually

BLOCKS = [block for block in blocks("toml", "python", "sh") if block.document == "docs/forms.md"]


def test_a_browser_posts_two_photos_to_the_application_of_the_document(tmp_path: Path) -> None:
    text, program, server, visitor = (block.text for block in BLOCKS)
    for place in ("uploads", "files"):
        (tmp_path / place).mkdir()
    write_private(tmp_path / "secret", SECRET.decode())
    (tmp_path / "app.py").write_text(program)
    photos = {name: name.encode() * 100_000 for name in ("one.jpg", "two.jpg")}
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
    port = str(free_port())
    text = text.replace("3000", port)
    text = re.sub(r'= "(secret|uploads)"', rf'= "{tmp_path}/\1"', text)
    with ExitStack() as stack:
        words = [sys.executable, "-m", *server.replace("3000", port).split()]
        children = Children(tmp_path)
        stack.callback(children.end)
        children.start("gunicorn", ["env", f"HOME={tmp_path}", *words], tmp_path / "log")
        front = stack.enter_context(proxy(text))
        eventually(lambda: front.get("/").status == 404, "the application")
        visitor = visitor.replace("8080", str(front.port))
        answer = shell(visitor, tmp_path)
        stranger = shell(visitor.replace("-b session=1", ""), tmp_path)
    told = json.loads(answer.stdout)
    assert told["title"] == "holiday"
    kept = {one["name"]: (tmp_path / place).read_bytes() for place, one in told["files"].items()}
    assert kept == photos
    assert stranger.stdout == "log in first"
    assert len(list((tmp_path / "files").iterdir())) == 2
    assert {path.name for path in (tmp_path / "uploads").rglob("*") if path.is_file()} <= {"lock"}
