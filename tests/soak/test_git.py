"""Twenty git clients at once; `make soak` plays it with ten times as much."""

from pathlib import Path

from tests.soak.git import play


def test_twenty_clients_clone_fetch_and_push_and_memory_stays_flat(tmp_path: Path) -> None:
    verdict = play(tmp_path, 10)
    assert not verdict.faults, str(verdict)
