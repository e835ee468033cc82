"""Spellings of one path that some server somewhere takes for it (class 15)."""

from collections.abc import Iterator


def _escaped(text: str) -> str:
    return "".join(f"%{ord(letter):02x}" for letter in text)


def _of_segments(segments: list[str]) -> Iterator[str]:
    """One segment written otherwise: escapes, once and twice, and things behind it."""
    for at, name in enumerate(segments):
        first, rest = name[0], name[1:]
        for other in (
            _escaped(first) + rest,
            _escaped(first).upper() + rest,
            name[:-1] + _escaped(name[-1]),
            _escaped(name),
            _escaped(first).replace("%", "%25") + rest,
            f"%u00{ord(first):02x}{rest}",
            f"%c1%{ord(first) - 64 + 128:02x}{rest}",
            f"{name};",
            f"{name};x=1",
            f"{name};a;b/.",
            f"{name}%3b",
            f"{name}%3Bx",
            f"{name}%00",
            f"{name}%0a",
            f"{name}%",
            f"%00{name}",
        ):
            yield "/" + "/".join([*segments[:at], other, *segments[at + 1 :]])


def _of_slashes(segments: list[str]) -> Iterator[str]:
    """One slash written otherwise, or with more around it."""
    for at in range(len(segments)):
        before = "".join("/" + name for name in segments[:at])
        after = "/".join(segments[at:])
        for other in (
            "//",
            "///",
            "/./",
            "/%2e/",
            "/.;/",
            "/;/",
            "/;x/",
            "/x/../",
            "/x/%2e%2e/",
            "/x/%2E./",
            "/x/..;/",
            "/x/..%3b/",
            "/x/..%2f",
            "/x%2f../",
            "/x%2f..%2f",
            "/x/%252e%252e/",
            "/x/..%5c",
            "/x\\..\\",
            "%2f",
            "%2F",
            "/%2f",
            "%252f",
            "\\",
            "%5c",
            "%255c",
            "%c0%af",
            "%e0%80%af",
        ):
            yield before + other + after


def _of_both_ends(path: str) -> Iterator[str]:
    for begin in ("/..", "/%2e%2e", "/.;", "\\", "//h/..", "http://h"):
        yield begin + path
    for end in ("/", "//", "/.", "/./", "%2f", "/x/..", "/%2e", "/;x", ";", "?", "?x", "#x"):
        yield path + end


def spellings(path: str) -> list[str]:
    """`path` itself and all others, each once."""
    segments = path.split("/")[1:]
    found = [path, *_of_segments(segments), *_of_slashes(segments), *_of_both_ends(path)]
    return list(dict.fromkeys(found))
