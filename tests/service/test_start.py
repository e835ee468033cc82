"""What is loaded before a worker serves, and what only then. None of this measures time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.start_probe import HEAVY, Findings
from tests.support.harness import proxy
from tests.support.waiting import eventually

ROUTES = """
[backend.default]
address = "http://127.0.0.1:1"
[[route]]
action = "upload"
path = "/uploads/*"
[auth]
secret_file = "{home}/secret"
[log]
access = "off"
error = "{home}/error.log"
"""
HERE = """
[[route]]
action = "fixed"
path = "/**"
body = "here"
"""
S3 = """
[store.default]
type = "s3"
bucket = "b"
endpoint = "http://127.0.0.1:1"
region = "us-east-1"
"""
KEYS = 'access_key_file = "{home}/secret"\nsecret_key_file = "{home}/secret"\n'
LOCAL = '[store.default]\ntype = "local"\npath = "{home}/store"\n'


def configuration(home: Path, store: str) -> str:
    (home / "store").mkdir()
    secret = home / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s" * 32)
    return (store + ROUTES).format(home=home)


def findings(home: Path, store: str) -> Findings:
    file = home / "fastproxy.toml"
    file.write_text(configuration(home, store))
    command = [sys.executable, "-m", "tests.service.start_probe", str(file)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return Findings(**json.loads(run.stdout))


@pytest.fixture(scope="module")
def with_s3(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings(tmp_path_factory.mktemp("start"), S3 + KEYS)


def test_a_worker_accepts_before_the_library_of_s3_is_loaded(with_s3: Findings) -> None:
    assert with_s3.heavy == []


def test_that_library_is_loaded_before_the_first_upload_asks_for_it(with_s3: Findings) -> None:
    assert set(HEAVY) <= set(with_s3.heavy_when_warm)


def test_the_event_loop_never_stops_to_load_it(with_s3: Findings) -> None:
    assert with_s3.stopping == []


def test_workers_have_every_module_from_the_master(with_s3: Findings) -> None:
    assert with_s3.late == []


def test_nothing_is_loaded_that_the_configuration_does_not_ask_for(with_s3: Findings) -> None:
    assert with_s3.elsewhere == []


def test_authorities_are_not_read_where_nobody_speaks_tls(with_s3: Findings) -> None:
    assert with_s3.contexts == 0


def test_without_a_store_in_s3_its_library_is_never_loaded(tmp_path: Path) -> None:
    assert findings(tmp_path, LOCAL).heavy_when_warm == []


def test_a_store_that_cannot_be_prepared_is_told_at_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/does/not/exist")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with proxy(S3 + HERE) as running:
        eventually(lambda: "NoCredentialsError" in running.said(), "it tells what is missing")
        assert 'store \\"default\\": open the S3 client' in running.said()
        assert running.get().body == b"here"
