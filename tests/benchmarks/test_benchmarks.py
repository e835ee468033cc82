"""`python -m benchmarks` asks real proxies and shows what it found; nothing here looks at speed."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.__main__ import QUESTIONS, chosen
from benchmarks.accounting import family
from benchmarks.question import OURS
from benchmarks.table import HEAD

ROOT = Path(__file__).parents[2]
TITLE = "10 header fields each way"
FIGURE = r"[\d,.]+"

two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def run(*options: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ if path is None else {**os.environ, "PATH": path}
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )


@two_cores
def test_one_question_is_asked_of_everybody_who_is_installed(tmp_path: Path) -> None:
    chart, output = tmp_path / "chart.svg", tmp_path / "table.md"
    done = run("--quick", "--only", TITLE, "--chart", str(chart), "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    head, rule, row, *_ = done.stdout.splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(HEAD)
    assert set(rule) == {"|", "-"}
    found = dict(zip(HEAD, cells, strict=True))
    assert (found["question"], found["unit"]) == (TITLE, "CPU us/request")
    assert re.fullmatch(FIGURE, found[OURS])
    for name in ("nginx", "HAProxy", "TCP relay"):  # scripts/setup has them for the tests
        assert re.fullmatch(rf"{FIGURE} \({FIGURE}\)", found[name])
    assert re.fullmatch(rf"<= 1 x nginx: (met|NOT MET) \({FIGURE}\)", found["target"])
    assert output.read_text() == done.stdout
    texts = [text.text for text in ET.parse(chart).iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == f"{TITLE} (CPU us/request)"
    assert {OURS, "nginx", "HAProxy", "TCP relay"} <= set(texts)


@two_cores
def test_large_bodies_are_asked_of_peers_with_large_buffers_as_well() -> None:
    done = run("--quick", "--only", "large chunked upload passed through")
    assert done.returncode == 0, done.stdout + done.stderr
    others = [cell.strip() for cell in done.stdout.splitlines()[2].split("|")][-3].split("; ")
    shape = rf"(nginx|HAProxy), large buffers {FIGURE} \({FIGURE}\)"
    assert [bool(re.fullmatch(shape, other)) for other in others] == [True, True]


@two_cores
def test_tls_is_asked_of_all_who_have_the_certificate() -> None:
    done = run("--quick", "--only", "TLS handshake")
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(
        zip(HEAD, map(str.strip, done.stdout.splitlines()[2].split("|")[1:]), strict=False)
    )
    assert re.fullmatch(FIGURE, found[OURS])
    for name in ("nginx", "HAProxy"):
        assert re.fullmatch(rf"{FIGURE} \({FIGURE}\)", found[name])
    assert found["target"].startswith("<= 1.2 x nginx: ")


@two_cores
def test_the_open_loop_asks_everybody_at_the_rate_of_one() -> None:
    done = run("--quick", "--only", "p99 of small requests, all")
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[2].split("|")]
    assert cells[2] == "ms"
    assert all(re.match(FIGURE, cells[column]) for column in (3, 4, 5, 7))
    assert cells[6] == "-"  # Caddy could not follow


@two_cores
@pytest.mark.parametrize(
    ("title", "than"),
    [
        ("two workers, batches of requests", "one worker"),
        ("two workers, batches of requests: capacity by CPU", "one worker"),
        ("fuller one of two workers, 64 clients at once", "nginx"),
        ("client that does not read its answer", "nginx"),
    ],
)
def test_workers_and_what_clients_hold_are_compared(title: str, than: str) -> None:
    done = run("--quick", "--only", title)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(
        zip(HEAD, map(str.strip, done.stdout.splitlines()[2].split("|")[1:]), strict=False)
    )
    assert re.fullmatch(FIGURE, found[OURS])
    assert re.search(rf"{FIGURE} \({FIGURE}\)", found[than] if than in found else found["others"])


@two_cores
def test_files_are_sent_in_place_by_nginx_and_by_us() -> None:
    done = run("--quick", "--only", " in place")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if " in place" in line]
    assert len(rows) == 2
    for row in rows:
        assert re.fullmatch(FIGURE, row[3].strip()), row
        assert re.fullmatch(rf"{FIGURE} \({FIGURE}\)", row[4].strip()), row


@two_cores
def test_an_upload_that_has_begun_holds_memory() -> None:
    done = run("--quick", "--only", "upload that has begun")
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(done.stdout.splitlines()[2].split("|")[3]) > 1


@two_cores
def test_a_run_that_is_ended_shows_what_it_has_and_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", TITLE]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        while process.stderr.read(1) != b".":  # the first has answered, the second is being asked
            assert process.poll() is None
        started = family(process.pid)
        assert len(started) > 5
        process.terminate()
        text = process.stdout.read().decode()
    assert process.returncode == 1
    assert text.endswith("interrupted: the rest was not asked\n")
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


@two_cores
def test_without_the_load_generator_it_says_which_package_has_it() -> None:
    done = run("--quick", "--only", TITLE, path="/nowhere")
    assert f"{TITLE}: not asked without wrk (Debian: wrk)" in done.stdout
    assert done.returncode == 0


def test_a_question_that_is_not_there_is_refused() -> None:
    done = run("--only", "the meaning of life")
    assert done.returncode == 2
    assert "no question holds 'the meaning of life'; there are:" in done.stderr
    assert all(f"\n  {question.title}\n" in done.stderr for question in QUESTIONS)


def test_a_whole_title_chooses_one_question_and_a_part_all_that_hold_it() -> None:
    assert [question.title for question in chosen("small request")] == ["small request"]
    assert {"small request", "small request, access log"} < {each.title for each in chosen("small")}
    assert chosen("") == list(QUESTIONS)


def test_every_question_is_put_to_us_and_has_a_title_of_its_own() -> None:
    titles = [question.title for question in QUESTIONS]
    assert len(set(titles)) == len(titles)
    for question in QUESTIONS:
        names = [contestant.name for contestant in question.contestants]
        assert OURS in names
        assert len(set(names)) == len(names)
        assert {target.than for target in question.targets} <= {"", *names}


@two_cores
@pytest.mark.parametrize("title", ["runner that", "from a change to its answer"])
def test_runners_that_wait_are_held_and_woken_by_a_real_redis(title: str) -> None:
    done = run("--quick", "--only", title)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if title in line and line.startswith("|")]
    assert len(rows) == len(chosen(title))
    assert all(re.fullmatch(FIGURE, row.split("|")[3].strip()) for row in rows), rows
