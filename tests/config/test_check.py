"""What a configuration must mean."""

import base64
import sys
from pathlib import Path

import pytest

from fastproxy.config.check import load_judged
from fastproxy.config.problems import ConfigProblems, Problem, Severity, show_key
from fastproxy.config.rules import waiting
from fastproxy.config.schema import Config, KiB, MiB
from fastproxy.config.worst_case import memory_reserve, worst_case
from fastproxy.memory.windows import Windows


class Room:
    """A directory with everything that a good configuration names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "fastproxy.toml"
        for name in ("objects", "state", "spill", "www"):
            (path / name).mkdir()
        self.secret("secret", base64.b64encode(b"k" * 32).decode())
        self.secret("key", "AKIA")

    def secret(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o600)

    def good(self) -> str:
        return f"""
[server]
state_dir = "{self.path}/state"
[limits]
connections = 10
[memory]
spill_dir = "{self.path}/spill"
spill_budget = "1MiB"
[auth]
secret_file = "{self.path}/secret"
[backend.default]
address = "http://127.0.0.1:3000"
[store.default]
type = "local"
path = "{self.path}/objects"
[[route]]
action = "upload"
path = "/up/**"
[[route]]
action = "proxy"
"""

    def judge(self, text: str, *, imports: bool = False) -> tuple[Config | None, list[Problem]]:
        self.file.write_text(text.replace("HERE", str(self.path)))
        try:
            return load_judged(self.file, {}, imports=imports)
        except ConfigProblems as error:
            return None, list(error.problems)

    def changed(self, old: str, new: str) -> list[Problem]:
        assert old in self.good()
        return self.judge(self.good().replace(old, new, 1))[1]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_a_good_configuration_has_no_problem(room: Room) -> None:
    config, found = room.judge(room.good())
    assert config is not None
    assert found == []


PROXY = '[[route]]\naction = "proxy"\n'

SHAPELESS = """
[server]
workers = -1
[memory]
low_water = 0.9
slab = "48KiB"
[limits]
bdy = "1MiB"
target_bytes = "1MB"
[auth]
secret_file = "HERE/nowhere"
[backnd.other]
address = "unix:/x"
[backend.default]
address = "http://h/path"
[backend.broken]
adress = "http://h"
[store.strange]
type = "s4"
[store.objects]
type = "s3"
bukcet = "b"
endpoint = "nowhere"
[[route]]
actoin = "proxy"
[[route]]
action = "proxy"
pth = "/a"
backend = "broken"
methods = ["get"]
[[route]]
action = "proxy"
backend = "other"
[[route]]
action = "upload"
path = "up"
store = "strange"
max_size = 5
[[route]]
action = "static"
root = 7
"""


def test_a_broken_shape_hides_no_other_problem_and_makes_none(room: Room) -> None:
    _, found = room.judge(SHAPELESS)
    assert [(problem.line, show_key(problem.key)) for problem in found] == [
        (3, "server.workers"),
        (5, "memory.low_water"),
        (6, "memory.slab"),
        (8, "limits.bdy"),
        (9, "limits.target_bytes"),
        (11, "auth.secret_file"),
        (12, "backnd"),
        (15, "backend.default.address"),
        (17, "backend.broken.adress"),
        (19, "store.strange.type"),
        (22, "store.objects.bukcet"),
        (23, "store.objects.endpoint"),
        (25, "route[0].actoin"),
        (28, "route[1].pth"),
        (30, "route[1].methods[0]"),
        (33, "route[2].backend"),
        (36, "route[3].path"),
        (38, "route[3].max_size"),
        (41, "route[4].root"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("[limits]", '[limits]\nidle_timeout = "0s"', "limits.idle_timeout", "between 1ms and"),
        ("connections = 10", "connections = 0", "limits.connections", "0 is not between 1"),
        ("[server]", "[server]\nworkers = -1", "server.workers", "-1 is not between 0"),
        ("[server]", "[server]\nlisten = []", "server.listen", "no address to listen on"),
        ("[server]", "[server]\nlisten = ['80']", "server.listen[0]", '":8080" is all interfaces'),
        ("[server]", "[server]\nlisten = ['http://h:80']", "server.listen[0]", "TLS is set up in"),
        ("[server]", "[server]\nlisten = ['*:80']", "server.listen[0]", 'write ":80"'),
        ("[server]", "[server]\nlisten = ['::1:80']", "server.listen[0]", "in brackets"),
        ("[server]", "[server]\nlisten = ['unix:x']", "server.listen[0]", "absolute path"),
        ("[server]", "[server]\nlisten = ['a:70000']", "server.listen[0]", "HOST:PORT"),
        ("[server]", "[server]\nlisten = [':1', ':1']", "server.listen[1]", "twice"),
        (
            "[server]",
            "[server]\nadmin_listen = '127.0.0.1:8080'",
            "server.admin_listen",
            "listened on twice",
        ),
        ("[server]", "[server]\nadmin_hosts = ['*.lan']", "server.admin_hosts[0]", "not a host"),
        (
            "[server]",
            "[server]\ntrusted_proxies = ['10.0.0.1/8']",
            "server.trusted_proxies[0]",
            "has host bits set",
        ),
        ("[server]", "[server]\ntrusted_proxies = ['lb']", "server.trusted_proxies[0]", "10.0.0.0"),
        ("/state", "/nowhere", "server.state_dir", "does not exist"),
        ("[auth]", "[log]\naccess = 'HERE/no/a.log'\n[auth]", "log.access", "does not exist"),
        ("[limits]", '[limits]\nheader_bytes = "4KiB"', "limits.target_bytes", "more than header"),
        ("[memory]", "[memory]\nlow_water = 0.5", "memory.low_water", "below high_water"),
        ("[memory]", '[memory]\nslab = "48KiB"', "memory.slab", "power of two"),
        ("[memory]", '[memory]\nslab = "1KiB"', "memory.slab", "1KiB is not between 4KiB"),
        ("/spill", "/nowhere", "memory.spill_dir", "does not exist"),
        ("http://127.0.0.1:3000", "127.0.0.1:3000", "backend.default.address", "is not"),
        ("http://127.0.0.1:3000", "h:3000", "backend.default.address", 'mean "http://h:3000"?'),
        ("http://127.0.0.1:3000", "/run/s", "backend.default.address", 'mean "unix:/run/s"?'),
        ("http://127.0.0.1:3000", "http://h/path", "backend.default.address", "has no path"),
        ("http://127.0.0.1:3000", "http://u:p@h", "backend.default.address", "no user"),
        ("http://127.0.0.1:3000", "http://h:99999", "backend.default.address", "is not"),
        ("http://127.0.0.1:3000", "unix:run", "backend.default.address", "absolute path"),
        (
            "[backend.default]",
            "[backend.default]\nca_file = '/no'",
            "backend.default.ca_file",
            "cannot be read",
        ),
        ("/objects", "/nowhere", "store.default.path", "does not exist"),
        ("/secret", "/nowhere", "auth.secret_file", "cannot be read"),
        ("/secret", "/key", "auth.secret_file", "too short"),
        (PROXY, f"{PROXY}backend = 'defualt'", "route[1].backend", 'did you mean "default"?'),
        ('path = "/up/**"', 'store = "x"\npath = "/up"', "route[0].store", '"x" does not exist'),
        ('path = "/up/**"', 'path = "up"', "route[0].path", 'does not start with "/"'),
        (PROXY, f"{PROXY}methods = ['get']", "route[1].methods[0]", 'did you mean "GET"?'),
        (PROXY, f"{PROXY}methods = ['G T']", "route[1].methods[0]", "not a method"),
        (PROXY, f"{PROXY}host = 'a:80'", "route[1].host", "without a port"),
        (
            'path = "/up/**"',
            'path = "/up"\nauthorize_suffix = "authorize"',
            "route[0].authorize_suffix",
            "plain path",
        ),
        (
            'path = "/up/**"',
            'path = "/up"\nauthorize_path = "/ask"',
            "route[0].authorize_path",
            'dialect = "gitlab"',
        ),
        ('path = "/up/**"', 'path = "/up"\nstores = ["no"]', "route[0].stores[0]", "not exist"),
        (
            'path = "/up/**"',
            'path = "/up"\npart_concurrency = 0',
            "route[0].part_concurrency",
            "between",
        ),
        (
            'path = "/up/**"',
            'path = "/up"\nallowed_hosts = ["https://x"]',
            "route[0].allowed_hosts[0]",
            "is not a host",
        ),
        (PROXY, "[[route]]\naction='static'\nroot='/no'", "route[1].root", "does not exist"),
        (
            PROXY,
            "[[route]]\naction='static'\nroot='HERE/www'\nindex='a/b'",
            "route[1].index",
            "not a path",
        ),
        (
            PROXY,
            "[[route]]\naction='static'\nroot='HERE/www'\npath='/a/**'\nstrip_prefix='/b'",
            "route[1].strip_prefix",
            "does not begin",
        ),
        (PROXY, "[[route]]\naction='fixed'\nstatus=99", "route[1].status", "99 is not between"),
        (
            PROXY,
            "[[route]]\naction='fixed'\nstatus=204\nbody='x'",
            "route[1].body",
            "has no body",
        ),
        (
            PROXY,
            "[[route]]\naction='fixed'\nheaders={'a b'='x'}",
            "route[1].headers.a b",
            "not a valid header",
        ),
        (
            PROXY,
            "[[route]]\naction='fixed'\nheaders={Content-Length='3'}",
            "route[1].headers.Content-Length",
            "set by fastproxy",
        ),
        (PROXY, "[[route]]\naction='python'\nhandler='x'", "route[1].handler", "module:name"),
        (PROXY, "[[route]]\naction='asgi'\napplication='a.b'", "route[1].application", "module:"),
        (PROXY, f"{PROXY}{PROXY}", "route[2]", "never reached: route[1]"),
        (
            "[backend.default]",
            "[backend.default]\ntls_verify = false",
            "backend.default.tls_verify",
            "not https",
        ),
        (
            "[backend.default]",
            "[backend.default]\ntls_server_name = 'b.example'",
            "backend.default.tls_server_name",
            "not https",
        ),
    ],
)
def test_each_error_is_found_at_its_key(
    room: Room, old: str, new: str, key: str, said: str
) -> None:
    found = [each for each in room.changed(old, new) if each.severity is Severity.ERROR]
    assert [str(each).split(": ")[1] for each in found] == [key]
    assert said in str(found[0])
    assert found[0].line is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[server]", "[server]\ntrusted_proxies = ['0.0.0.0/0']", "lets every client choose"),
        (
            "[backend.default]",
            "[backend.b]\naddress='http://h'\n[backend.default]",
            "no route uses",
        ),
        (
            "[store.default]",
            "[store.b]\ntype='local'\npath='HERE'\n[store.default]",
            "no route uses",
        ),
        (
            'http://127.0.0.1:3000"',
            'https://127.0.0.1:3000"\ntls_verify = false',
            "CERTIFICATE IS NOT VERIFIED",
        ),
        ('spill_budget = "1MiB"', 'spill_budget = "900000GiB"', "free (spill_budget x workers"),
        ("connections = 10", "connections = 1000000", "raise LimitNOFILE"),
        (
            PROXY,
            "[[route]]\naction='fixed'\nname='a'\npath='/1'\n" + PROXY + "name='a'\n",
            "names two routes",
        ),
    ],
)
def test_doubtful_things_are_warnings(room: Room, old: str, new: str, said: str) -> None:
    found = room.changed(old, new)
    assert [each.severity for each in found] == [Severity.WARNING]
    assert said in str(found[0])


def test_no_routes_is_a_warning(room: Room) -> None:
    config, found = room.judge("[limits]\nconnections = 1\n[memory]\nspill_budget = '0B'")
    assert config is not None
    assert "every request is answered with 404" in str(found[0])


def test_an_upload_route_needs_the_secret(room: Room) -> None:
    (found,) = room.changed(f'secret_file = "{room.path}/secret"', "")
    assert "auth.secret_file: is required" in str(found)


def test_a_secret_everybody_can_read_is_a_warning(room: Room) -> None:
    (room.path / "secret").chmod(0o644)
    _, (found,) = room.judge(room.good())
    assert "chmod 600" in str(found)


def s3(room: Room, more: str = "") -> str:
    local = f'type = "local"\npath = "{room.path}/objects"\n'
    return room.good().replace(local, f'type = "s3"\nbucket = "b"\n{more}\n')


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("part_size = '4MiB'", "4MiB is not between 5MiB and 5GiB"),
        ("endpoint = 's3.local'", "is not a URL"),
        ("access_key_file = 'HERE/key'", "secret_key_file: is missing"),
        ("access_key_file = 'HERE/no'\nsecret_key_file = 'HERE/key'", "cannot be read"),
        ("attempts = 0", "0 is not between 1"),
        ("part_size = '300MiB'\nequal_parts = true", "256MiB is less than the"),
    ],
)
def test_s3_stores_are_judged(room: Room, more: str, said: str) -> None:
    _, (found,) = room.judge(s3(room, more))
    assert said in str(found)


def test_an_empty_bucket_is_an_error(room: Room) -> None:
    _, (found,) = room.judge(s3(room).replace('"b"', '""'))
    assert "store.default.bucket: is empty" in str(found)


def test_a_part_of_a_route_must_suit_its_store(room: Room) -> None:
    text = s3(room).replace('path = "/up/**"', 'path = "/up/**"\npart_size = "1MiB"')
    _, (found,) = room.judge(text)
    assert 'store "default" takes parts between 5MiB and 5GiB' in str(found)


def test_s3_without_a_journal_is_a_warning(room: Room) -> None:
    text = s3(room).replace(f'state_dir = "{room.path}/state"', "")
    config, (found,) = room.judge(text)
    assert config is not None
    assert "unfinished multipart uploads" in str(found)


ROUTE = '[[route]]\naction = "fixed"\n'


@pytest.mark.parametrize(
    ("first", "second", "is_hidden"),
    [
        ("path = '/a/**'", "path = '/a/b'", True),
        ("path = '/a/b'", "path = '/a/**'", False),
        ("path = '/a'\nmethods = ['GET']", "path = '/a'", False),
        ("path = '/a'\nmethods = ['GET']", "path = '/a'\nmethods = ['HEAD']", True),
        ("path = '/a'\nmethods = ['GET']", "path = '/a'\nmethods = ['PUT']", False),
        ("path = '/a'", "path = '/a'\nmethods = ['PUT']", True),
        ("path = '/a'\nhost = 'x'", "path = '/a'", False),
        ("path = '/a'\nhost = 'x'", "path = '/a'\nhost = 'X'", True),
        ("path = '/a'\nhost = '*.x'", "path = '/a'\nhost = 'b.x'", True),
        ("path = '/a'\nhost = '*.x'", "path = '/a'\nhost = 'x'", False),
        ("path = '/a'", "path = '/a'\nhost = 'x'", True),
    ],
)
def test_a_route_that_never_gets_a_request_is_an_error(
    room: Room, first: str, second: str, is_hidden: bool
) -> None:
    text = (
        f"[limits]\nconnections = 1\n[memory]\nspill_budget='0B'\n{ROUTE}{first}\n{ROUTE}{second}"
    )
    _, found = room.judge(text)
    assert ["never reached" in str(each) for each in found] == [True] * is_hidden


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("action='python'\nhandler='judged_module:good'", ""),
        ("action='python'\nhandler='judged_module:Class.good'", ""),
        ("action='python'\nhandler='judged_module:plain'", "not an async function"),
        ("action='python'\nhandler='judged_module:number'", "cannot be called"),
        ("action='python'\nhandler='judged_module:none'", "AttributeError"),
        ("action='python'\nhandler='judged_nowhere:x'", "ModuleNotFoundError"),
        ("action='asgi'\napplication='judged_module:plain'", ""),
        ("action='asgi'\napplication='judged_broken:x'", "ZeroDivisionError"),
    ],
)
def test_handlers_are_imported_by_check_alone(
    room: Room, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    (room.path / "judged_module.py").write_text(
        "async def good(request): ...\ndef plain(): ...\nnumber = 1\n"
        "class Class:\n    @staticmethod\n    async def good(request): ...\n"
    )
    (room.path / "judged_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(room.path)
    text = f"[limits]\nconnections = 1\n[memory]\nspill_budget = '0B'\n[[route]]\n{line}\n"
    assert room.judge(text)[1] == []
    assert "judged_broken" not in sys.modules
    _, found = room.judge(text, imports=True)
    assert len(found) == bool(said)
    assert said in "".join(map(str, found))
    sys.modules.pop("judged_module", None)


def test_handlers_are_looked_for_in_the_current_directory_as_workers_do(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room.path / "judged_here.py").write_text("async def good(request): ...\n")
    monkeypatch.chdir(room.path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    route = "[[route]]\naction='python'\nhandler='judged_here:good'\n"
    text = f"[limits]\nconnections = 1\n[memory]\nspill_budget = '0B'\n{route}"
    assert room.judge(text, imports=True)[1] == []
    sys.modules.pop("judged_here", None)


@pytest.mark.parametrize(
    ("path", "is_literal"),
    [("/up/:id", True), ("/up/{id}/x", True), ("/up/<int:id>", True), ("/up/a:b/*", False)],
)
def test_a_parameter_as_frameworks_write_it_is_warned_of(
    room: Room, path: str, is_literal: bool
) -> None:
    found = room.changed("/up/**", path)
    assert [each.severity for each in found] == [Severity.WARNING] * is_literal
    assert all("write * for any one segment" in str(each) for each in found)


def test_the_worst_case_counts_what_forms_hold_besides(room: Room) -> None:
    """A sixteenth of the budget for their fields, and a window for each route."""
    form = '\n[[route]]\naction = "form"\npath = "/form/{}"\n'
    text = s3(room, "connections = 2")
    plain, _ = room.judge(text)
    forms = form.format("a") + form.format("b")
    some, _ = room.judge(text.replace("[[route]]", forms + "\n[[route]]", 1))
    assert plain is not None
    assert some is not None
    more = worst_case(some).worker - worst_case(plain).worker
    assert more == 256 * MiB // 16 + 2 * 320 * KiB


def test_the_worst_case_adds_up(room: Room) -> None:
    config, _ = room.judge(s3(room, "connections = 2"))
    assert config is not None
    worst = worst_case(config)
    assert worst.busy_connection == (8 + 32 + 64 + 136) * KiB
    assert worst.worker == worst.base + 10 * worst.busy_connection + 256 * MiB
    assert worst.total == worst.master + worst.worker
    assert worst.idle < worst.total
    assert "10 clients x 240KiB" in worst.explain()


@pytest.mark.parametrize(
    ("more", "reserve"),
    [("part_size = '16MiB'", 5 * MiB), ("part_size = '16MiB'\nequal_parts = true", 16 * MiB)],
)
def test_the_reserve_is_the_least_part_the_store_takes(room: Room, more: str, reserve: int) -> None:
    config, _ = room.judge(s3(room, more))
    assert config is not None
    assert memory_reserve(config) == reserve


@pytest.mark.parametrize(("disk", "is_good"), [("512MiB", True), ("64MiB", False)])
def test_equal_parts_larger_than_memory_need_a_disk_that_holds_one(
    room: Room, disk: str, *, is_good: bool
) -> None:
    text = s3(room, "part_size = '300MiB'\nequal_parts = true")
    text = text.replace('spill_budget = "1MiB"', f'spill_budget = "{disk}"')
    config, found = room.judge(text)
    assert (config is not None) == is_good
    assert is_good or [each.key for each in found] == [("memory", "budget")]
    assert config is None or memory_reserve(config) == 5 * MiB


@pytest.mark.parametrize("slab", ["4KiB", "64KiB", "1MiB", "2MiB"])
@pytest.mark.parametrize("budget", range(5, 17))
def test_a_budget_that_is_judged_good_makes_an_arena(room: Room, slab: str, budget: int) -> None:
    text = s3(room).replace("[memory]", f'[memory]\nbudget = "{budget}MiB"\nslab = "{slab}"')
    config, found = room.judge(text)
    if config is None:
        assert [each.key for each in found] == [("memory", "budget")]
        return
    windows = Windows(config.memory.budget, config.memory.slab)
    slabs = (config.memory.budget - windows.bytes) // config.memory.slab
    assert slabs * config.memory.slab > memory_reserve(config)


def test_images_are_refused_only_where_they_are_looked_at(room: Room) -> None:
    refusing = room.good().replace('path = "/up/**"', 'path = "/up/**"\nrefuse_images = ["tiff"]')
    config, (problem,) = room.judge(refusing)
    assert config is None
    assert "route[0].refuse_images" in str(problem)
    assert room.judge(refusing.replace('["tiff"]', '["tiff"]\nscrub_images = true'))[0]


def test_a_crc_needs_its_library(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    text = room.good().replace('path = "/up/**"', 'path = "/up/**"\nhashes = ["md5", "crc32c"]')
    assert room.judge(text)[0] is not None
    monkeypatch.setattr("fastproxy.config.rules.places.find_spec", lambda name: None)
    config, (problem,) = room.judge(text)
    assert config is None
    assert "awscrt" in str(problem)
    assert "route[0].hashes" in str(problem)


def test_a_route_whose_backend_signs_every_url_needs_no_store(room: Room) -> None:
    store = f'[store.default]\ntype = "local"\npath = "{room.path}/objects"\n'
    without = room.good().replace(store, "")
    assert room.judge(without)[0] is None
    hosts = without.replace('path = "/up/**"', 'path = "/up/**"\nallowed_hosts = ["s3.example"]')
    assert room.judge(hosts)[0] is not None


def test_a_queue_is_judged(room: Room) -> None:
    queue = '\n[route.queue]\nat_once = 0\nlength = 1\nlength_per_key = 2\nkey = "cookie:a b"\n'
    _, found = room.judge(room.good() + queue + "full_status = 500\nwait = 3\n")
    keys = {show_key(problem.key) for problem in found}
    words = ("at_once", "length_per_key", "key", "full_status", "wait")
    assert keys == {f"route[1].queue.{word}" for word in words}
    _, found = room.judge(room.good() + "\n[route.queue]\nlength = 5\n")
    assert [(show_key(each.key), each.message) for each in found] == [
        ("route[1].queue.at_once", "is missing")
    ]
    _, found = room.judge(room.good() + "websocket = true\n[route.queue]\nat_once = 5\n")
    assert [each.severity for each in found] == [Severity.WARNING]


POLL = """
[[route]]
action = "proxy"
path = "/jobs"
[route.poll]
key = "json:token"
last = "query:seen"
"""


def with_poll(room: Room, redis: str, poll: str = POLL) -> set[str]:
    text = room.good().replace(PROXY, poll + PROXY).replace("[auth]", f"{redis}\n[auth]")
    _, found = room.judge(text)
    return {show_key(problem.key) for problem in found}


def test_polls_are_judged_with_the_redis_they_need(room: Room) -> None:
    redis = '[redis]\nurl = "redis://127.0.0.1:6379/0"'
    assert with_poll(room, redis) == set()
    assert with_poll(room, "") == {"route[1].poll"}
    assert with_poll(room, redis, "") == {"redis"}, "a warning: nobody polls"
    for bad in ("http://h", "redis://:word@h", "redis://h?password=x"):
        assert with_poll(room, f'[redis]\nurl = "{bad}"') == {"redis.url"}
    more = f'{redis}\npassword_file = "HERE/nowhere"\nca_file = "HERE/nowhere"\nchannels = "all"'
    keys = {"redis.password_file", "redis.ca_file", "redis.channels"}
    assert with_poll(room, more) >= keys
    poll = POLL.replace("json:token", "cookie:x").replace("query:seen", "header:a b")
    poll = poll.replace('path = "/jobs"', 'path = "/jobs"\nwebsocket = true\nbuffer = "both"')
    poll += 'jitter = 2.0\nheaders = { Content-Length = "1" }\non_change = "200"\n'
    expected = {f"route[1].{key}" for key in ("websocket", "buffer")} | {
        f"route[1].poll.{key}"
        for key in ("key", "last", "jitter", "headers.Content-Length", "on_change")
    }
    assert with_poll(room, redis, poll) == expected


def test_with_sentinels_the_url_names_a_master(room: Room) -> None:
    table = '[redis.sentinel]\naddresses = ["10.0.0.1", "s.example:26379", "[::1]:5000"]'
    redis = f'[redis]\nurl = "redis://my_master-1/3"\n{table}'
    assert with_poll(room, redis) == set()
    for bad in ("redis://my:6379", "unix:///redis.sock", "redis://user@my", "redis://my?db=1"):
        assert with_poll(room, redis.replace("redis://my_master-1/3", bad)) == {"redis.url"}
    assert with_poll(room, redis.replace("10.0.0.1", "tcp://h")) == {"redis.sentinel.addresses[0]"}
    none = '[redis]\nurl = "redis://m"\n[redis.sentinel]\naddresses = []\npassword_file = "no"'
    keys = {"redis.sentinel.addresses", "redis.sentinel.password_file"}
    assert with_poll(room, none) == keys
    authority = 'ca_file = "HERE/nowhere"\n[redis.sentinel]\ntls = true\n'
    without = redis.replace("[redis.sentinel]\n", authority)
    _, found = room.judge(
        room.good().replace(PROXY, POLL + PROXY).replace("[auth]", f"{without}\n[auth]")
    )
    assert "there is no TLS" not in str(found)


def test_a_poll_needs_the_package_redis(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "find_spec", lambda name: None)
    assert with_poll(room, '[redis]\nurl = "redis://127.0.0.1:6379/0"') == {"redis"}
