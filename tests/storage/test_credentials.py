"""The usual credentials chain: who signs, and what happens when a key expires."""

import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from fastproxy.config import schema
from fastproxy.errors import StorageFault
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store
from fastproxy.storage.s3control import S3Control
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.undoing import Undoing
from tests.servers.seaweed import Seaweed
from tests.storage.bodies import Bytes, cut, pattern, run
from tests.storage.fake_s3 import BUCKET, FakeS3

PROCESS = """
import datetime, json, pathlib, sys
counter = pathlib.Path(sys.argv[1])
count = int(counter.read_text()) + 1 if counter.exists() else 1
counter.write_text(str(count))
lives = datetime.timedelta(minutes=5 if count == 1 else 60)
print(json.dumps({
    "Version": 1, "AccessKeyId": f"key{count}", "SecretAccessKey": "secret",
    "SessionToken": f"token{count}",
    "Expiration": (datetime.datetime.now(datetime.timezone.utc) + lives).isoformat(),
}))
"""


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No credentials anywhere; where a file of them is looked for."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "credentials"


def from_environment(nobody: Path, seaweed: Seaweed, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)


def from_file(nobody: Path, seaweed: Seaweed, patch: pytest.MonkeyPatch) -> None:
    nobody.write_text(
        "[default]\naws_access_key_id = x\naws_secret_access_key = x\n"
        f"[ours]\naws_access_key_id = {seaweed.access_key}\n"
        f"aws_secret_access_key = {seaweed.secret_key}\n"
    )
    patch.setenv("AWS_PROFILE", "ours")


@pytest.mark.parametrize("given", [from_environment, from_file])
def test_keys_of_the_chain_sign_for_both_planes(
    given: Callable[..., None], nobody: Path, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"chain-{given.__name__.replace('_', '-')}"
    witness = seaweed.client()
    witness.create_bucket(Bucket=bucket)
    given(nobody, seaweed, monkeypatch)
    data = pattern((5 << 20) + 1)

    async def main(call: HttpCall) -> None:
        config = schema.S3Store(bucket=bucket, endpoint=seaweed.endpoint, region=seaweed.region)
        store = open_store("s", config, call, Undoing(Journal(), settle_s=0))
        store.keep(await store.put("small", Bytes(b"x")))
        upload = await store.begin("large")
        for part in cut(data, 5 << 20):
            await upload.put_part(part)
        store.keep(await upload.complete(len(data)))
        await store.drop(await store.put("unwanted", Bytes(b"x")))
        await store.close()

    run(main)
    assert witness.get_object(Bucket=bucket, Key="large")["Body"].read() == data
    keys = [one["Key"] for one in witness.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == ["large", "small"]
    witness.close()


def test_a_wrong_key_is_the_stores_refusal(
    nobody: Path, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    async def main(call: HttpCall) -> None:
        config = schema.S3Store(bucket=BUCKET, endpoint=seaweed.endpoint, region=seaweed.region)
        store = open_store("s", config, call, Undoing(Journal(), settle_s=0))
        for attempt in (store.put("k", Bytes(b"x")), store.begin("k")):
            with pytest.raises(StorageFault, match="403"):
                await attempt
        await store.close()

    run(main)


def test_an_expiring_key_is_refreshed_for_both_planes(nobody: Path, tmp_path: Path) -> None:
    """The first key has five minutes left: less than botocore lets a key have."""
    script, counter = tmp_path / "process.py", tmp_path / "count"
    script.write_text(PROCESS)
    nobody.write_text(f"[default]\ncredential_process = {sys.executable} {script} {counter}\n")

    async def main(call: HttpCall) -> None:
        async with FakeS3().serve() as fake:
            control = S3Control(schema.S3Store(bucket=BUCKET, endpoint=fake.endpoint))
            signed = [await control.sign("PUT", "k", {}, []) for _ in range(3)]
            await control.create("k", {})
            await control.close()
        for url in signed:
            query = parse_qs(urlsplit(url).query)
            assert query["X-Amz-Credential"][0].startswith("key2/")
            assert query["X-Amz-Security-Token"] == ["token2"]
        assert "Credential=key2/" in fake.requests[0].headers["authorization"]

    run(main)
    assert counter.read_text() == "2"  # a key that is good is used again


def test_preparing_makes_the_client_and_asks_the_store_for_nothing(tmp_path: Path) -> None:
    async def main(call: HttpCall) -> None:
        async with FakeS3().serve() as fake:
            store = open_store("s", fake.config(tmp_path), call, Undoing(Journal(), settle_s=0))
            await store.prepare()
            assert not fake.requests
            (tmp_path / "keys").unlink()  # it was read: nobody asks for it again
            store.keep(await store.put("k", Bytes(b"x")))
            assert fake.objects["k"][0] == b"x"
            await store.close()

    run(main)
