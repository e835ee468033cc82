"""Ruby thinks of the vectors what they say."""

from pathlib import Path

from tests.docs.shell import ROOT, blocks, shell

(CHECK,) = (block for block in blocks("sh") if "check_vectors.rb" in block.text)


def test_ruby_judges_every_vector_rightly(tmp_path: Path) -> None:
    done = shell(f"cd {ROOT}\n" + CHECK.text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # ruby-jwt does not take a token without signature for one
    assert done.stdout.splitlines() == [
        "an empty signature: malformed, not signature",
        "73 cases and 12 forms, 0 misjudged",
    ]
