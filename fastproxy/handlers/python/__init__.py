"""Python as the handler of a route: one coroutine function, or an ASGI application."""

from fastproxy.handlers.python.functions import Request, Response

__all__ = ["Request", "Response"]
