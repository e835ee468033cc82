"""The tuning page: its commands run, and every key, metric and setting that it names exists."""

import re
import shutil
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import QUESTIONS
from fastproxy.config import schema, worst_case
from fastproxy.observe.catalog import METRICS
from tests.docs.shell import ROOT, Block, blocks, shell
from tests.docs.test_commands import completed

PAGE = "docs/tuning.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
COMMANDS = [block for block in blocks("sh") if block.document == PAGE]
(CONFIGURATION,) = [block.text for block in blocks("toml") if block.document == PAGE]
SETTINGS = [block.text for block in blocks("ini") if block.document == PAGE]
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
QUOTED = re.findall(r"`([^`\n]+)`", PROSE)

TABLES = {
    "server": (schema.Server,),
    "limits": (schema.Limits,),
    "memory": (schema.Memory,),
    "log": (schema.Log,),
    "backend.NAME": (schema.Backend,),
    "store.NAME": (schema.LocalStore, schema.S3Store),
}


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.text.split()[0])
def test_a_command_runs(block: Block, tmp_path: Path) -> None:
    program = block.text.split()[0]
    if program != "fastproxy" and not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    (tmp_path / "fastproxy.toml").write_text(completed(CONFIGURATION, tmp_path))
    done = shell(block.text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_every_key_exists() -> None:
    named = [re.fullmatch(r"([a-z]+(?:\.NAME)?)\.([a-z_]+)(?: = .*)?", each) for each in QUOTED]
    keys = {(found[1], found[2]) for found in named if found and found[1] in TABLES}
    assert len(keys) >= 20
    for table, key in keys:
        fields = {f.name for each in TABLES[table] for f in msgspec.structs.fields(each)}
        assert key in fields, f"{table}.{key}"


def test_every_metric_and_its_label_exists() -> None:
    known = {metric.name: metric for metric in METRICS}
    named = set(re.findall(r'`(fastproxy_\w+)(?:\{(\w+)="([\w-]+)"\})?`', TEXT))
    assert len(named) > 15
    for name, label, value in named:
        values = {each.name: each.values for each in known[name].labels}
        assert not label or value in values[label], f"{name} {label} {value}"


def test_every_setting_of_the_kernel_exists() -> None:
    in_file = {line.split(" = ")[0] for line in SETTINGS[1].splitlines() if " = " in line}
    named = {each for each in QUOTED if re.fullmatch(r"(?:net|fs)\.[\w.-]+", each)}
    assert in_file <= named
    for setting in named:
        # A container may be shown fewer of them.
        area = Path("/proc/sys", *setting.split(".")[:-1])
        assert not area.exists() or (area / setting.rpartition(".")[2]).exists(), setting


def test_the_limit_of_descriptors_suffices_for_the_configuration() -> None:
    (limit,) = re.findall(r"LimitNOFILE=(\d+)", SETTINGS[0])
    (clients,) = re.findall(r"connections = (\d+)", CONFIGURATION)
    assert int(limit) >= 2 * int(clients) + 100
    (backlog,) = re.findall(r"backlog = (\d+)", CONFIGURATION)
    assert f"net.core.somaxconn = {backlog}\n" in SETTINGS[1]


def test_the_terms_of_the_check_are_those_of_the_program() -> None:
    mib, kib = worst_case.MASTER >> 20, worst_case.CONNECTION >> 10
    assert f"machine = {mib} MiB" in TEXT
    said = " ".join(TEXT.split())
    assert f"{worst_case.WORKER >> 20} MiB of base, {kib} KiB for each client" in said
    busy = (worst_case.RELAY + worst_case.AHEAD) >> 10
    assert f"and {busy} KiB with `limits.header_bytes`" in said


def test_the_questions_exist_that_measured_the_terms() -> None:
    terms = TEXT.partition("| Term |")[2].partition("\n\n")[0]
    titles = re.findall(r'"([^"]+)"', terms)
    assert len(titles) >= 4
    assert set(titles) <= {question.title for question in QUESTIONS}


def test_the_configuration_is_for_the_clients_that_it_says() -> None:
    (workers,) = re.findall(r"workers = (\d+)", CONFIGURATION)
    (connections,) = re.findall(r"connections = (\d+)", CONFIGURATION)
    assert int(workers) * int(connections) >= 35_000
