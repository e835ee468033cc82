"""The real git client fetches and pushes through fastproxy."""

import gzip
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.flow.git_site import FLUSH, Forge, begin_fetch, everybody, forged, line, wanting
from tests.flow.upload_site import Response
from tests.support.git import commit, git, head_of, noise
from tests.support.monolith import permit
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with forged(tmp_path_factory.mktemp("forge")) as running:
        yield running


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_repository_is_cloned_by_every_version_of_the_protocol(
    forge: Forge, tmp_path: Path, version: str
) -> None:
    git("-c", f"protocol.version={version}", "clone", "--quiet", forge.url(), tmp_path / "copy")
    assert head_of(tmp_path / "copy") == head_of(forge.bare)
    git("fsck", "--strict", cwd=tmp_path / "copy")


def test_what_is_pushed_is_there_and_can_be_fetched(forge: Forge, tmp_path: Path) -> None:
    git("clone", "--quiet", forge.ann, tmp_path / "mine")
    pushed = commit(tmp_path / "mine", "new", b"new\n")
    git("push", "--quiet", "origin", "HEAD:refs/heads/topic", cwd=tmp_path / "mine")
    assert head_of(forge.bare, "refs/heads/topic") == pushed
    git("clone", "--quiet", "--branch", "topic", forge.url(), tmp_path / "theirs")
    assert (tmp_path / "theirs/new").read_bytes() == b"new\n"


def test_history_is_fetched_as_deep_as_asked_for_and_later_deeper(
    forge: Forge, tmp_path: Path
) -> None:
    for version in ("0", "2"):
        copy = tmp_path / version
        chosen = ("-c", f"protocol.version={version}")
        git(*chosen, "clone", "--quiet", "--depth", "1", forge.url(), copy)
        assert git("rev-list", "--count", "HEAD", cwd=copy) == "1\n"
        git(*chosen, "fetch", "--quiet", "--unshallow", cwd=copy)
        assert git("rev-list", "--count", "HEAD", cwd=copy) == "3\n"


def test_what_others_pushed_since_is_fetched(forge: Forge, tmp_path: Path) -> None:
    git("clone", "--quiet", forge.url(), tmp_path / "copy")
    for number in range(40):  # enough for a question that the client compresses
        commit(tmp_path / "copy", f"own{number}", b"x")
    git("clone", "--quiet", forge.ann, tmp_path / "other")
    pushed = commit(tmp_path / "other", "since", b"since\n")
    git("push", "--quiet", "origin", "HEAD:refs/heads/since", cwd=tmp_path / "other")
    git("fetch", "--quiet", "origin", "since", cwd=tmp_path / "copy")
    assert git("rev-parse", "FETCH_HEAD", cwd=tmp_path / "copy").strip() == pushed


def test_a_push_larger_than_curls_buffer_arrives_whole(forge: Forge, tmp_path: Path) -> None:
    git("clone", "--quiet", forge.ann, tmp_path / "mine")
    pushed = commit(tmp_path / "mine", "large", noise(3 << 20))
    git("push", "--quiet", "origin", "HEAD:refs/heads/large", cwd=tmp_path / "mine")
    assert head_of(forge.bare, "refs/heads/large") == pushed
    git("fsck", "--strict", cwd=forge.bare)


def test_who_may_not_push_hears_it_from_the_backend_unchanged(forge: Forge) -> None:
    with forge.site.client() as client:
        client.head("GET", "/git/hello.git/info/refs?service=git-receive-pack", {})
        refusal = client.response()
    assert (refusal.status, refusal.body) == (401, b"who are you?\n")
    assert ("www-Authenticate", 'Basic realm="The Forge"') in refusal.headers.items()
    said = git("push", forge.url(), "HEAD:refs/heads/x", cwd=forge.tree, check=False)
    assert "could not read Username" in said


def test_what_is_not_gits_protocol_goes_to_the_backend(forge: Forge) -> None:
    for method, target in (
        ("GET", "/git/hello.git"),
        ("GET", "/git/hello.git/info/refs"),  # the dumb protocol
        ("GET", "/git/hello.git/info/refs?service=git-other-pack"),
        ("GET", "/git/hello.git/info/refs?service=git-upload-pack&service=git-receive-pack"),
        ("GET", "/git/hello.git/git-upload-pack"),
        ("POST", "/git/hello.git/git-upload-pack"),  # without its type
    ):
        with forge.site.client() as client:
            client.head(method, target, {"Content-Length": "0"})
            assert client.response().body == b"plain\n", target


def advertised(forge: Forge, name: str = "hello.git", **fields: str) -> Response:
    with forge.site.client() as client:
        client.head("GET", f"/git/{name}/info/refs?service=git-upload-pack", fields)
        return client.response()


def test_refs_are_advertised_as_the_protocol_wants_it(forge: Forge) -> None:
    answer = advertised(forge)
    assert answer.headers["Content-Type"] == "application/x-git-upload-pack-advertisement"
    assert answer.headers["Cache-Control"] == "no-cache, max-age=0, must-revalidate"
    assert answer.body.startswith(b"001e# service=git-upload-pack\n0000")
    assert advertised(forge, **{"Git-Protocol": "version=2"}).body.startswith(b"000eversion 2\n")
    assert b"0000000eversion 1\n" in advertised(forge, **{"Git-Protocol": "version=1"}).body


@pytest.mark.parametrize(
    "said", ["version=9", "x;y", "version=2\t", "-c core.pager=id", "version=2:a=b"]
)
def test_of_the_protocol_that_a_client_asks_for_git_hears_a_known_version_only(
    forge: Forge, said: str
) -> None:
    answer = advertised(forge, **{"Git-Protocol": said})
    assert answer.status == 200
    assert answer.body.startswith(b"000eversion 2\n") == said.startswith("version=2")


@pytest.mark.parametrize("name", ["absent.git", "link.git", "up/../hello.git", "hello.git/.."])
def test_only_repositories_beneath_the_root_are_served(forge: Forge, name: str) -> None:
    link = forge.root / "link.git"
    if not link.is_symlink():
        link.symlink_to(forge.tree / ".git")
    forge.backend.authorize = lambda asked: permit(repository=name, allow=["fetch"])
    try:
        answer = advertised(forge)
    finally:
        forge.backend.authorize = everybody
    assert (answer.status, answer.body) == (404, b"404 backend: no-repository\n")


@pytest.mark.parametrize(
    "permission",
    [
        {},
        {"repository": "hello.git"},
        {"repository": "hello.git", "allow": ["push"]},
        {"repository": "hello.git", "allow": ["fetch"], "confg": {}},
        {"repository": "hello.git", "allow": ["fetch"], "config": {"core.pager": "id"}},
        {
            "repository": "hello.git",
            "allow": ["fetch"],
            "config": {"uploadpack.packObjectsHook": "id"},
        },
        {"repository": "hello.git", "allow": ["fetch"], "user": "ann\nGIT_DIR=/"},
    ],
)
def test_a_permission_that_must_not_be_followed_is_the_backends_fault(
    forge: Forge, permission: dict[str, object]
) -> None:
    forge.backend.authorize = lambda asked: permit(**permission)
    try:
        answer = advertised(forge)
    finally:
        forge.backend.authorize = everybody
    assert (answer.status, answer.body) == (502, b"502 backend: bad-authorize-answer\n")


def test_the_backends_settings_hold_for_its_request(forge: Forge) -> None:
    hide = {"transfer.hideRefs": "refs/heads"}
    forge.backend.authorize = lambda asked: permit(
        repository="hello.git", allow=["fetch"], config=hide
    )
    try:
        assert b" refs/heads/main\n" not in advertised(forge).body
    finally:
        forge.backend.authorize = everybody
    assert b" refs/heads/main\n" in advertised(forge).body


def test_a_push_over_gits_own_limit_is_refused_with_its_reason(
    forge: Forge, tmp_path: Path
) -> None:
    limit = {"receive.maxInputSize": "100000"}
    forge.backend.authorize = lambda asked: permit(
        repository="hello.git", allow=["push", "fetch"], config=limit
    )
    try:
        git("clone", "--quiet", forge.url(), tmp_path / "mine")
        commit(tmp_path / "mine", "large", noise(8 << 20, 9))
        said = git("push", "origin", "HEAD:refs/heads/toolarge", cwd=tmp_path / "mine", check=False)
    finally:
        forge.backend.authorize = everybody
    assert "pack exceeds maximum allowed size" in said
    assert "remote rejected" in said or "unpacker error" in said


def fetch_by_hand(forge: Forge, body: bytes, **fields: str) -> Response:
    """One question, put as a client might."""
    said = {"Content-Type": "application/x-git-upload-pack-request", **fields}
    with forge.site.client() as client:
        client.head(
            "POST", "/git/hello.git/git-upload-pack", {**said, "Content-Length": str(len(body))}
        )
        client.send(body)
        return client.response()


def test_a_compressed_question_is_understood(forge: Forge) -> None:
    plain = fetch_by_hand(forge, wanting(forge))
    assert b"PACK" in plain.body
    packed = fetch_by_hand(forge, gzip.compress(wanting(forge)), **{"Content-Encoding": "gzip"})
    assert packed.status == 200
    assert packed.body.partition(b"PACK")[2][:8] == plain.body.partition(b"PACK")[2][:8]


def test_a_question_that_is_not_what_its_coding_says_is_refused(forge: Forge) -> None:
    fields = {"Content-Encoding": "gzip"}
    question = gzip.compress(wanting(forge))
    for broken in (b"nonsense", question[:-9], question + question):
        assert fetch_by_hand(forge, broken, **fields).status == 400
    assert fetch_by_hand(forge, question, **{"Content-Encoding": "br"}).status == 415


def test_what_git_calls_nonsense_is_the_clients_fault(forge: Forge) -> None:
    for nonsense in (b"zzzz", b"0008want", b"000bwant x\n0000", b""):
        answer = fetch_by_hand(forge, nonsense)
        assert (answer.status, answer.body) == (400, b"400 client: bad-body\n")


def test_who_says_half_of_what_he_wants_keeps_nobody_from_a_turn(forge: Forge) -> None:
    path = "/git/hello.git/git-upload-pack"
    fields = {"Content-Type": "application/x-git-upload-pack-request", "Content-Length": "5000"}
    before = len(forge.backend.questions(path))
    with ExitStack() as stalled:
        for _ in range(16):
            client = stalled.enter_context(forge.site.client())
            client.head("POST", path, fields)
            client.send(wanting(forge)[:10])
        eventually(lambda: len(forge.backend.questions(path)) == before + 16, "all may fetch")
        assert advertised(forge).status == 200


def test_a_bomb_is_refused_before_it_is_large(tmp_path: Path) -> None:
    bomb = gzip.compress(b"0032have " + b"0" * (64 << 20))
    with forged(tmp_path, route_keys={"max_negotiation": "1MiB"}) as forge:
        assert len(bomb) < 100_000
        assert fetch_by_hand(forge, bomb, **{"Content-Encoding": "gzip"}).status == 413
        assert fetch_by_hand(forge, b"0" * (1 << 20) + b"0").status == 413
        eventually(lambda: not forge.processes(), "no program")


def test_nothing_is_answered_before_the_whole_question_was_read(forge: Forge) -> None:
    """Or both would wait: the client reads only when it has said all."""
    tips = [f"refs/tips/{number}" for number in range(4000)]
    base = head_of(forge.bare)
    made = "".join(
        f"commit {name}\nmark :{n}\ncommitter A <a@b> {n} +0000\ndata 0\nfrom {base}\n\n"
        for n, name in enumerate(tips, 1)
    )
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=forge.bare, input=made.encode(), check=True
    )
    haves = git("for-each-ref", "--format=%(objectname)", "refs/tips", cwd=forge.bare).split()
    assert len(haves) == 4000
    first = line(f"want {base} multi_ack_detailed side-band-64k\n") + FLUSH
    body = first + b"".join(line(f"have {have}\n") for have in haves) + line("done\n")
    fields = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Length": str(len(body)),
    }
    with forge.site.client() as client:
        client.head("POST", "/git/hello.git/git-upload-pack", fields)
        client.send(body[:-9])
        eventually(lambda: held_back(forge), "answers are held back")
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(20)
        client.send(body[-9:])
        answer = client.response()
    assert answer.body.count(b" common\n") >= 4000
    assert len(answer.body) > 200_000


def held_back(forge: Forge) -> bool:
    """Whether the worker holds an answer in a file of no name."""
    fds = Path(f"/proc/{forge.site.workers[0]}/fd")
    return any("(deleted)" in os.readlink(fds / fd) for fd in os.listdir(fds))


def test_requests_wait_for_their_turn_and_are_refused_when_too_many_do(tmp_path: Path) -> None:
    with forged(tmp_path, git={"processes": 1, "queue": 1, "queue_timeout": "20s"}) as forge:
        commit(forge.tree, "big", noise(8 << 20))
        git("push", "--quiet", forge.bare, "main", cwd=forge.tree)
        with begin_fetch(forge, wanting(forge)) as first:
            assert first.sock.recv(100).startswith(b"HTTP/1.1 200 OK")
            with begin_fetch(forge, wanting(forge)) as second:
                waiting = 'fastproxy_git_processes{state="waiting"}'
                eventually(lambda: forge.site.metric(waiting) == 1, "one waits")
                busy = advertised(forge)
                assert (busy.status, busy.body) == (503, b"503 ours: git-busy\n")
                assert busy.headers["Retry-After"]
                first.sock.close()
                assert second.sock.recv(100).startswith(b"HTTP/1.1 200 OK")
