"""Rules on what backends may order to be sent."""

from collections.abc import Iterator

from fastproxy.config.load import Source
from fastproxy.config.problems import KeyPath, Problem
from fastproxy.config.rules.places import readable_directory
from fastproxy.config.schema import Config, Send


def check_sending(config: Config, source: Source) -> Iterator[Problem]:
    """Directories can be read and are named by what does not change."""
    for name, backend in config.backend.items():
        if backend.send is not None:
            yield from _send(backend.send, source, ("backend", name, "send"))


def _send(send: Send, source: Source, key: KeyPath) -> Iterator[Problem]:
    for at, path in enumerate(send.files):
        place = (*key, "files", at)
        if not path.startswith("/"):
            hint = "X-Sendfile names files by absolute paths"
            yield source.problem(place, f'"{path}" is not an absolute path', hint)
        yield from readable_directory(source, place, path)
    for prefix, path in send.locations.items():
        place = (*key, "locations", prefix)
        if not prefix.startswith("/") or set(prefix) & set("?#%"):
            yield source.problem(place, f'"{prefix}" is not a plain path', 'e.g. "/protected/"')
        yield from readable_directory(source, place, path)
