"""Buckets as host names, against a real store that is told its own."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fastproxy.config import schema
from fastproxy.errors import StoreRefused
from fastproxy.storage import s3client
from fastproxy.storage.journal import Journal
from fastproxy.storage.open import open_store
from fastproxy.storage.s3control import S3Control
from fastproxy.storage.sender import HttpCall
from fastproxy.storage.undoing import Undoing
from tests.contract.stores import s3_config
from tests.servers.seaweed import DOMAIN, Seaweed
from tests.storage.bodies import Bytes, cut, pattern, run

BUCKET = "by-its-name"
HOST = f"{BUCKET}.{DOMAIN}"


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were resolved; those of the store's domain are here."""
    names: list[str] = []
    resolve = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        names.append(name)
        return resolve("127.0.0.1" if name.endswith(DOMAIN) else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return names


def test_both_planes_ask_the_buckets_own_host(
    tmp_path: Path, seaweed: Seaweed, looked_up: list[str]
) -> None:
    witness = seaweed.client()
    witness.create_bucket(Bucket=BUCKET)
    port = urlsplit(seaweed.endpoint).port
    data, asked = pattern((5 << 20) + 1), list[str]()

    async def main(call: HttpCall) -> None:
        async def watched(method: str, url: str, **more: Any) -> Any:
            asked.append(urlsplit(url).netloc + urlsplit(url).path)
            return await call(method, url, **more)

        keys = s3_config(tmp_path, seaweed, BUCKET)
        config = schema.S3Store(
            bucket=BUCKET,
            endpoint=f"http://{DOMAIN}:{port}",
            region=seaweed.region,
            addressing="virtual",
            access_key_file=keys.access_key_file,
            secret_key_file=keys.secret_key_file,
        )
        store = open_store("s", config, watched, Undoing(Journal(), settle_s=0))
        upload = await store.begin("a/large one")
        for part in cut(data, 5 << 20):
            await upload.put_part(part)
        store.keep(await upload.complete(len(data)))
        await store.drop(await store.put("unwanted", Bytes(b"x")))
        await store.close()

    run(main)
    assert set(asked) == {f"{HOST}:{port}/a/large%20one", f"{HOST}:{port}/unwanted"}
    assert set(looked_up) == {HOST, "127.0.0.1"} or set(looked_up) == {HOST}
    assert [one["Key"] for one in witness.list_objects_v2(Bucket=BUCKET)["Contents"]] == [
        "a/large one"
    ]
    assert witness.get_object(Bucket=BUCKET, Key="a/large one")["Body"].read() == data
    witness.close()


@pytest.mark.parametrize(
    ("addressing", "endpoint", "base"),
    [
        ("auto", "", "https://bkt.s3.eu-west-1.amazonaws.com/"),
        ("auto", "https://s3.eu-west-1.amazonaws.com", "https://bkt.s3.eu-west-1.amazonaws.com/"),
        ("auto", "http://store.example:9000", "http://store.example:9000/bkt/"),
        ("path", "", "https://s3.eu-west-1.amazonaws.com/bkt/"),
        ("virtual", "http://store.example:9000", "http://bkt.store.example:9000/"),
    ],
)
def test_where_a_bucket_is(tmp_path: Path, addressing: Any, endpoint: str, base: str) -> None:
    key = tmp_path / "key"
    key.write_text("key")

    async def main(call: HttpCall) -> None:
        control = S3Control(
            schema.S3Store(
                bucket="bkt",
                endpoint=endpoint,
                region="eu-west-1",
                addressing=addressing,
                access_key_file=str(key),
                secret_key_file=str(key),
            )
        )
        url = await control.sign("GET", "k", {}, [])
        assert url.partition("?")[0] == base + "k"
        await control.close()

    run(main)


def test_a_bucket_that_is_nowhere_leaves_no_client_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_text("key")
    config = schema.S3Store(bucket="no name", access_key_file=str(key), secret_key_file=str(key))
    make, made, alive = s3client._client, list[Any](), list[Any]()

    @asynccontextmanager
    async def watched(*args: Any) -> AsyncIterator[Any]:
        async with make(*args) as client:
            made.append(client)
            alive.append(client)
            try:
                yield client
            finally:
                alive.remove(client)

    async def main(call: HttpCall) -> None:
        control = S3Control(config)
        for _ in range(2):
            with pytest.raises(StoreRefused, match="bucket name"):
                await control.sign("GET", "k", {}, [])
        assert not alive
        await control.close()

    monkeypatch.setattr(s3client, "_client", watched)
    run(main)
    assert made
