"""The command line. Each verb imports what it needs, so that `fastproxy version` is quick.

Exit codes: 0 good, 2 wrong usage, 78 (EX_CONFIG) a configuration that cannot be used; systemd's
RestartPreventExitStatus=78 keeps such a service from being restarted for ever.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fastproxy import __version__

if TYPE_CHECKING:
    from fastproxy.config.overrides import Override

DEFAULT_FILE: Final = "fastproxy.toml"
FILE_VARIABLE: Final = "FASTPROXY_CONFIG"
LEVELS: Final = ("debug", "info", "warning", "error")

# Flags of `serve` and `check` that stand for one key of the file, and how help calls their value.
FLAGS: Final = {
    "--listen": ("server", "listen", "ADDRESS"),
    "--admin-listen": ("server", "admin_listen", "ADDRESS"),
    "--workers": ("server", "workers", "NUMBER"),
    "--state-dir": ("server", "state_dir", "DIRECTORY"),
    "--access-log": ("log", "access", "TARGET"),
    "--error-log": ("log", "error", "TARGET"),
    "--log-level": ("log", "level", None),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `fastproxy schema | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their flags."""
    parser = argparse.ArgumentParser(prog="fastproxy", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    serve = verbs.add_parser("serve", help="run the proxy")
    _add_file(serve)
    _add_flags(serve)
    serve.set_defaults(run=_serve)

    check = verbs.add_parser(
        "check", help="check a configuration; show its routes and the memory it may take"
    )
    file = check.add_mutually_exclusive_group()
    file.add_argument("file", nargs="?", help="the file (default: as --config)")
    _add_file(file)
    _add_flags(check)
    check.set_defaults(run=_check)

    routes = verbs.add_parser("routes", help="see which route takes a request")
    _add_test(routes.add_subparsers(required=True, metavar="VERB"))

    demo = verbs.add_parser("demo", help="run a small application behind fastproxy")
    demo.add_argument("--port", type=int, help="port to listen on (default: a free one)")
    demo.add_argument("--once", action="store_true", help="upload a file, show the answer and exit")
    demo.set_defaults(run=_demo)

    verbs.add_parser("version", help="show versions").set_defaults(run=_version)
    schema = verbs.add_parser("schema", help="print the configuration's JSON Schema")
    schema.set_defaults(run=_schema)
    return parser


_DESCRIPTION = "A reverse proxy that takes uploads and other slow requests off an application."


def _add_file(parser: "argparse._ActionsContainer") -> None:
    default = os.environ.get(FILE_VARIABLE, DEFAULT_FILE)
    text = f"the configuration (default: ${FILE_VARIABLE}, else {DEFAULT_FILE})"
    parser.add_argument("--config", "-c", default=default, metavar="FILE", help=text)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("keys of the configuration, over what the file says")
    for flag, (section, key, metavar) in FLAGS.items():
        text = f"{section}.{key}"
        if flag == "--listen":
            group.add_argument(flag, action="append", metavar=metavar, help=f"{text}; repeatable")
        else:
            choices = LEVELS if flag == "--log-level" else None
            group.add_argument(flag, help=text, choices=choices, metavar=metavar)


def _add_test(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    test = verbs.add_parser("test", help="show which route takes a request, and what it does")
    test.add_argument("method", metavar="METHOD")
    test.add_argument("target", metavar="PATH", help="as on the request line, e.g. /a%%20b?c=d")
    _add_file(test)
    test.add_argument("--host", default="", help="the Host header")
    test.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    test.set_defaults(run=_routes_test)


def _serve(arguments: argparse.Namespace) -> int:
    gc.disable()  # what is imported stays: to look for garbage in it took a twelfth of a start
    from fastproxy.service.serve_command import run

    gc.freeze()
    gc.enable()
    return run(arguments.config, _overrides(arguments))


def _check(arguments: argparse.Namespace) -> int:
    from fastproxy.service.check_command import run

    return run(arguments.file or arguments.config, _overrides(arguments))


def _routes_test(arguments: argparse.Namespace) -> int:
    from fastproxy.service.routes_command import Asked, run

    headers = [*([f"Host: {arguments.host}"] if arguments.host else []), *arguments.header]
    return run(arguments.config, Asked.parse(arguments.method, arguments.target, headers))


def _demo(arguments: argparse.Namespace) -> int:
    from fastproxy.demo.run import run_demo

    return run_demo(arguments.port, once=arguments.once)


def _version(_: argparse.Namespace) -> int:
    from importlib.metadata import version
    from platform import python_version

    libraries = [f"{name} {version(name)}" for name in ("uvloop", "httptools")]
    print(", ".join([f"fastproxy {__version__}", f"Python {python_version()}", *libraries]))
    return 0


def _schema(_: argparse.Namespace) -> int:
    import json

    from fastproxy.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _overrides(arguments: argparse.Namespace) -> "list[Override]":
    """The flags that were written, as values over the file's."""
    from fastproxy.config.overrides import Override

    given = []
    for flag, (section, key, _) in FLAGS.items():
        value = getattr(arguments, flag.removeprefix("--").replace("-", "_"))
        if value is not None:
            text = ",".join(value) if isinstance(value, list) else value
            given.append(Override((section, key), text, flag))
    return given
