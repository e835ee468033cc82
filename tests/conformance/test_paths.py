"""R1 and R6: every spelling of a protected path reaches its route, or nothing does."""

import asyncio
import functools
from collections import defaultdict
from dataclasses import dataclass, field

import jwt
import pytest

from fastproxy.config.schema import (
    AnyRoute,
    Auth,
    FixedRoute,
    LocalStore,
    ProxyRoute,
    Server,
    UploadRoute,
)
from tests.conformance.parsers import Message
from tests.conformance.plays import CUTS, Talk
from tests.conformance.site import Site, new_id, play_on_site
from tests.conformance.spellings import spellings
from tests.conformance.witness import WitnessConnection

SECRET = b"a shared secret of 32 bytes long"
ROUTES: tuple[AnyRoute, ...] = (
    UploadRoute(path="/api/*/upload", name="upload"),
    UploadRoute(path="/projects/**/packages/**", name="packages", methods=("PUT",)),
    FixedRoute(path="/admin/**", name="admin", status=403, body="no\n"),
    ProxyRoute(path="/internal/**", name="internal", backend="internal"),
    ProxyRoute(name="rest"),
)
# Path, method, and where it may be seen: by which backend and with which claim.
PROTECTED = {
    "upload": ("/api/$ID/upload", "POST"),
    "packages": ("/projects/g/$ID/packages/file", "PUT"),
    "admin": ("/admin/$ID/x", "GET"),
    "internal": ("/internal/$ID/x", "GET"),
}
OVERRIDES = [
    "X-HTTP-Method-Override: PUT",
    "x-http-method-override:put",
    "X-HTTP-Method: PUT",
    "X-Method-Override: PUT",
    "X-HTTP-Method-Override: PUT, GET",
    "X-HTTP-Method-Override: GET,PUT",
    "X-HTTP-Method-Override: GET\r\nX-HTTP-Method-Override: PUT",
    "X-HTTP-Method-Override: GET\r\nX-Method-Override: PUT",
    "X-HTTP-Method-Override:\tPUT ",
    "X-HTTP-Method-Override: P\u00dcT",
    "X-HTTP-Method-Override:",
]
# More than anybody means, and each would be looked up: 32 KiB of them took a worker two minutes.
MANY_OVERRIDES = "X-HTTP-Method-Override: " + ",".join(["GET"] * 9)


@dataclass
class Seen:
    """What came of one request."""

    status: int = 0
    at: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))


async def _ask(site: Site, raw: str, cut: str) -> Seen:
    seen, mark = Seen(), new_id()
    for name, witness in site.witnesses.items():
        witness.answer = functools.partial(_refuse, seen, name)
    talk = await Talk.open(site.address)
    async with asyncio.timeout(10):
        await talk.send(CUTS[cut](raw.encode("latin-1").replace(b"$ID", mark)))
        reply = await talk.reply()
    talk.close()
    assert reply is not None
    seen.status = reply.status
    return seen


def _refuse(seen: Seen, name: str, connection: WitnessConnection, request: Message) -> bytes:
    seen.at[name].append(request)
    return b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Seen]:
    requests = {
        (name, path): f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"
        for name, (protected, method) in PROTECTED.items()
        for path in spellings(protected)
    }
    head = "{} {} HTTP/1.1\r\nHost: h\r\n{}\r\nContent-Length: 1\r\n\r\nx"
    for line in OVERRIDES:
        requests["POST", line] = head.format("POST", PROTECTED["packages"][0], line)
        requests["PUT", line] = head.format("PUT", PROTECTED["packages"][0], line)
        requests["rest", line] = head.format("POST", "/$ID", line)
    requests["rest", MANY_OVERRIDES] = head.format("POST", "/$ID", MANY_OVERRIDES)

    async def use(site: Site) -> dict[tuple[str, str], Seen]:
        return {
            (*key, cut): await _ask(site, raw, cut)
            for key, raw in requests.items()
            for cut in ("whole", "bytes")
        }

    return play_on_site(use, ROUTES, ["default", "internal"], **_tables(tmp_path_factory))


def _tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    home = tmp_path_factory.mktemp("paths")
    (home / "secret").write_bytes(SECRET)
    (home / "objects").mkdir()
    return {
        "auth": Auth(secret_file=str(home / "secret")),
        "store": {"default": LocalStore(path=str(home / "objects"))},
        "server": Server(),
    }


def is_question(message: Message) -> bool:
    """Whether it asks whether an upload may happen, and can be used for nothing else."""
    tokens = message.all(b"fastproxy-authorize")
    if len(tokens) != 1:
        return False
    token = tokens[0]
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="fastproxy-authorize")
    named = {name for name, _ in message.fields if name.startswith(b"fastproxy-")}
    return named == {b"fastproxy-authorize"} and claims["method"] == message.method.decode()


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("name", PROTECTED)
def test_every_spelling_reaches_its_route_or_nothing(
    results: dict[tuple[str, ...], Seen], name: str, cut: str
) -> None:
    paths = spellings(PROTECTED[name][0])
    assert len(paths) > 100
    reached = set()
    for path in paths:
        seen = results[name, path, cut]
        if seen.status == 400:
            assert not seen.at, path
            continue
        reached.add(path)
        if name == "admin":
            assert seen.status == 403, path
            assert not seen.at, path
        elif name == "internal":
            assert set(seen.at) == {"internal"}, path
        else:
            assert set(seen.at) == {"default"}, path
            assert [is_question(message) for message in seen.at["default"]] == [True], path
    assert {paths[0], paths[0] + "/", paths[0] + "?x"} <= reached


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("line", OVERRIDES)
def test_another_method_in_a_field_leads_past_no_upload(
    results: dict[tuple[str, ...], Seen], line: str, cut: str
) -> None:
    """The route takes PUT only, so POST is the backend's own."""
    seen = results["POST", line, cut]
    assert (seen.status, dict(seen.at)) == (400, {})


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("line", OVERRIDES[:4])
def test_another_method_of_the_same_route_is_no_fault(
    results: dict[tuple[str, ...], Seen], line: str, cut: str
) -> None:
    """An upload's question goes without it; what is only proxied goes as it came."""
    (question,) = results["PUT", line, cut].at["default"]
    assert is_question(question)
    name = line.partition(":")[0].lower().encode()
    assert question.all(name) == []
    (proxied,) = results["rest", line, cut].at["default"]
    assert proxied.all(name) == [line.partition(":")[2].strip().encode()]
    assert [n for n, _ in proxied.fields if n.startswith(b"fastproxy")] == []


@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_very_many_methods_in_a_field_are_not_looked_up(
    results: dict[tuple[str, ...], Seen], cut: str
) -> None:
    seen = results["rest", MANY_OVERRIDES, cut]
    assert (seen.status, dict(seen.at)) == (400, {})
