"""A reload or preview that is under way or to come: what it takes, and whoever waits for its outcome."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from micronode.config.hot_reload import Outcome
from micronode.config.schema import Config


class Round:
    """One reload or preview, and who waits for it."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config
        #: Once it is known.
        self.outcome: Outcome | None = None
        self._waiters: list[Deferred[Outcome]] = []

    def join(self) -> Deferred[Outcome]:
        """Return a Deferred of the outcome; cancelling it lets the round be."""
        waiter: Deferred[Outcome] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def end(self, outcome: Outcome) -> None:
        """Tell everybody; who hears of it may cancel the others."""
        while self._waiters:
            self._waiters.pop(0).callback(outcome)
