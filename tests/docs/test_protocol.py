"""docs/protocol.md says what goes over the wire."""

import base64
import json
import re
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from fastproxy.demo.configuration import Home
from fastproxy.demo.run import choose_port
from fastproxy.protocol import HEX_LENGTH, NATIVE, body_hash
from fastproxy.uploads.answer import Permission, PresignedAnswer
from tests.demo.town import application, proxy
from tests.docs.relay import relay

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
ASK, PERMISSION, REPORT = re.findall(r"```http\n(.*?)\n```", DOCUMENT, re.DOTALL)
SECRET = base64.b64decode(re.findall(r"```text\n(.*?)\n```", DOCUMENT)[0])
CLAIMS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)]


def table(heading: str) -> list[str]:
    """The first cells of the table whose head line starts with `heading`."""
    (rows,) = re.findall(rf"^\| {heading} \|\n\|[-|]+\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    cells = [row.split("|")[1] for row in rows.splitlines()]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def head_names(message: str) -> list[str]:
    lines = message.partition("\n\n")[0].splitlines()[1:]
    return [line.partition(":")[0] for line in lines]


def token_of(message: str) -> str:
    return re.findall(r"^Fastproxy-(?:Authorize|Upload): (.*)$", message, re.MULTILINE)[0]


def test_every_field_of_the_permission_is_documented() -> None:
    fields = [field.name for field in msgspec.structs.fields(Permission)]
    assert sorted(table("field \\| meaning \\| without it")) == sorted(fields)
    fields = [field.name for field in msgspec.structs.fields(PresignedAnswer)]
    assert sorted(table("field of `presigned` \\| meaning")) == sorted(fields)


def test_every_field_of_the_report_is_documented() -> None:
    assert table("field \\| meaning") == list(NATIVE.upload_values)


def test_every_digest_is_documented() -> None:
    (row,) = re.findall(r"^\| `hashes` \| digests wanted(.*?)\|", DOCUMENT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(HEX_LENGTH)


@pytest.mark.parametrize(("message", "claims"), [(ASK, CLAIMS[0]), (REPORT, CLAIMS[1])])
def test_the_tokens_of_the_example_are_signed_and_say_what_is_shown(
    message: str, claims: dict[str, Any]
) -> None:
    found = jwt.decode(
        token_of(message),
        SECRET,
        algorithms=["HS256"],
        audience=claims["aud"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert found == claims
    documented = table("claim \\| both requests")
    documented += table(f"claim \\| {claims['aud'].removeprefix('fastproxy-')} only")
    assert sorted(documented) == sorted(claims)


def test_the_bodies_of_the_example_are_whole() -> None:
    for message in (PERMISSION, REPORT):
        head, _, body = message.partition("\n\n")
        assert f"Content-Length: {len(body)}" in head.splitlines()
    body = REPORT.partition("\n\n")[2]
    assert CLAIMS[1]["body_sha256"] == body_hash(body.encode())
    assert json.loads(body)["upload"] == CLAIMS[1]["upload"]


def test_the_same_request_makes_the_same_messages_today() -> None:
    headers = {
        "Content-Type": "text/plain",
        "User-Agent": "curl/7.88.1",
        "Accept": "*/*",
        "Cookie": "session=abc",
        "Fastproxy-Upload": "forged",
        "X_Forwarded_For": "forged",
        "X-HTTP-Method-Override": "PUT",
    }
    with tempfile.TemporaryDirectory(prefix="fp-") as path:
        home = Home(Path(path), choose_port(None))
        home.furnish()
        text = home.configuration.read_text()
        home.configuration.write_text(text.replace("app.sock", "relay.sock"))
        socket = home.path / "relay.sock"
        with application(home), relay(socket, home.app_socket) as wire, proxy(home):
            wire.requests.clear()
            wire.answers.clear()
            client = HTTPConnection("127.0.0.1", home.port, timeout=20)
            target, body = "/uploads/hello.txt?folder=7", iter([b"Hello, ", b"world!\n"])
            client.request("PUT", target, body, headers, encode_chunked=True)
            assert client.getresponse().status == 201
            client.close()
    ask, report = (bytes(request).decode().replace("\r\n", "\n") for request in wire.requests)
    permission = bytes(wire.answers[0]).decode().replace("\r\n", "\n")
    for now, documented in ((ask, ASK), (permission, PERMISSION), (report, REPORT)):
        assert now.splitlines()[0] == documented.splitlines()[0]
        assert head_names(now) == head_names(documented)
    for now, claims in ((ask, CLAIMS[0]), (report, CLAIMS[1])):
        found = jwt.decode(token_of(now), options={"verify_signature": False})
        assert found.keys() == claims.keys()
        same = ("iss", "aud", "method", "path", "length", "content_type")
        assert {key: found.get(key) for key in same} == {key: claims.get(key) for key in same}
    told = json.loads(report.partition("\n\n")[2])["upload"]
    assert told.keys() == CLAIMS[1]["upload"].keys()
    assert told["hashes"] == CLAIMS[1]["upload"]["hashes"]
