"""Waiting, on one's own reactor, for what has been read to become enough."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred


class Until:
    """Mixed into what reads: it calls :meth:`look` after every read."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires (None) once *condition*, looked at after every read, is true."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((condition, waiter))
        self.look()
        return waiter

    def look(self) -> None:
        """Let those go on whose condition is true by now."""
        for each in list(self._waiting):
            if each[0]():
                self._waiting.remove(each)
                each[1].callback(None)
