"""What connections know of the express lane: a plain request and its answer may pass by it.

While one is on its way (a Trip) its client's connection has no Exchange. Whatever happens that is
not the plain case, the connection first calls `leave`, which makes the Exchange that would have
been there; from then on the request is served like any other.
"""


class Trip:
    """One request in the express lane."""

    def body_came(self, nbytes: int) -> bool:
        """The next `nbytes` of the request's body are in the scratch: send them on.

        False: nothing was done, for more came than is left of it.
        """
        raise NotImplementedError

    def answered(self, nbytes: int) -> bool:
        """The backend's first `nbytes` are in the scratch: pass them on, if they are all of it.

        False: nothing was done.
        """
        raise NotImplementedError

    def leave(self) -> None:
        """Go on as an Exchange. Once this is done neither connection has a trip."""
        raise NotImplementedError


class Shortcut:
    """No express lane: nothing is taken."""

    def take(self, connection: object, nbytes: int) -> bool:
        """`nbytes` where a head may start are in the scratch: send them on, if they are plain.

        `connection`: a ClientConnection that waits for a head. False: nothing was done.
        """
        return False
