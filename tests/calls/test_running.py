"""Tests for :mod:`micronode.calls.running`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.running import Running

_MINE: ContextVar[str] = ContextVar("mine", default="nobody's")


class RunningTests(SynchronousTestCase):
    def test_its_context_is_its_own(self) -> None:
        """Whoever fires what it waits for, and whatever runs between."""
        seen: list[str] = []

        async def work(name: str, waited: Deferred[None]) -> None:
            _MINE.set(name)
            await waited
            seen.append(_MINE.get())

        waits: list[Deferred[None]] = [Deferred(), Deferred()]
        for name, waited in zip("ab", waits, strict=True):
            Running().run(work(name, waited))
        self.assertEqual(_MINE.get(), "nobody's")
        for waited in waits:
            waited.callback(None)
        self.assertEqual(seen, ["a", "b"])
        self.assertEqual(_MINE.get(), "nobody's")

    def test_what_the_work_raises(self) -> None:
        async def work(waited: Deferred[None]) -> None:
            await waited
            raise KeyError

        for waited in (succeed(None), Deferred[None]()):
            running = Running()
            running.run(work(waited))
            if not waited.called:
                self.assertNoResult(running)
                waited.callback(None)
            self.failureResultOf(running, KeyError)

    def test_what_it_waited_for_fails(self) -> None:
        """The work hears of it, and may go on."""
        waited: Deferred[None] = Deferred()

        async def work() -> None:
            with self.assertRaises(ZeroDivisionError):
                await waited

        running = Running()
        running.run(work())
        waited.errback(ZeroDivisionError())
        self.assertIsNone(self.successResultOf(running))

    def test_many_that_are_there_already(self) -> None:
        """They take no room on the stack."""

        async def work() -> None:
            for _ in range(5_000):
                await succeed(None)

        running = Running()
        running.run(work())
        self.assertIsNone(self.successResultOf(running))

    def test_no_deferred(self) -> None:
        """The work is told where it stands."""

        class Strange:
            def __await__(self) -> Any:
                yield 1

        async def work() -> None:
            await Strange()

        running = Running()
        running.run(work())
        self.failureResultOf(running, TypeError)

    def test_cancelled_it_is_over_when_the_work_is(self) -> None:
        waited: Deferred[None] = Deferred()
        rest: Deferred[None] = Deferred()

        async def work() -> None:
            try:
                await waited
            except CancelledError:
                await rest

        running = Running()
        running.run(work())
        running.cancel()
        self.assertTrue(running.given_up)
        self.assertNoResult(running)
        rest.callback(None)
        self.assertIsNone(self.successResultOf(running))
