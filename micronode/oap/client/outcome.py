"""A result that comes once and that many may wait for, each with a Deferred of its own (client side)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

T = TypeVar("T")


class Outcome(Generic[T]):
    """A result, or a failure, that may not be there yet.

    A failure that nobody waits for is nobody's: unlike a Deferred's it is not logged.

    :param abandoned: called when the last of those who waited was cancelled.
    """

    def __init__(self, abandoned: Callable[[], object] | None = None) -> None:
        self._abandoned = abandoned
        self._waiters: list[Deferred[T]] = []
        self._result: tuple[T] | Failure | None = None

    def when(self) -> Deferred[T]:
        """Return a Deferred that fires with the result. Cancelling it gives up nothing but the waiting."""
        if isinstance(self._result, Failure):
            return fail(self._result)
        if self._result is not None:
            return succeed(self._result[0])
        waiter: Deferred[T] = Deferred(self._gone)
        self._waiters.append(waiter)
        return waiter

    def settle(self, result: T | Failure) -> None:
        """Hand the result to all who wait and will wait; the first one counts."""
        if self._result is not None:
            return
        self._result = result if isinstance(result, Failure) else (result,)
        # One at a time: what one of them does with it may cancel another.
        while self._waiters:
            self._waiters.pop(0).callback(result)

    def _gone(self, waiter: Deferred[T]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._waiters and self._abandoned is not None:
                self._abandoned()
