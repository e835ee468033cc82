"""What decorators of views say before any request; tests of their requests are in test_sites.py."""

from typing import Any

import pytest

from fastproxy.backend import Guard, MemoryReplays, django, flask
from tests.backend.honest import SECRET

GUARD = Guard(SECRET, MemoryReplays())


async def view(*given: Any, **named: Any) -> Any: ...


@pytest.mark.parametrize("decorator", [flask.asked, flask.uploaded, django.asked, django.uploaded])
def test_an_async_view_is_refused_when_it_is_decorated(decorator: Any) -> None:
    with pytest.raises(TypeError, match="view is async"):
        decorator(GUARD)(view)


@pytest.mark.parametrize("decorator", [flask.asked, flask.uploaded, django.asked, django.uploaded])
def test_what_other_decorators_left_on_a_view_stays(decorator: Any) -> None:
    def exempt(*given: Any) -> Any: ...

    exempt.csrf_exempt = True  # type: ignore[attr-defined]
    decorated = decorator(GUARD)(exempt)
    assert (decorated.__name__, decorated.csrf_exempt) == ("exempt", True)
