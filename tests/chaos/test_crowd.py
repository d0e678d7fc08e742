"""A crowd grows until the node is late, counts where it is told to, and leaves when its calls have ended."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.crowd import Crowd, threshold_s
from tests.chaos.lines import Ended
from tests.chaos.load import Load
from tests.chaos.tally import Tally
from tests.chaos.watch import Watch

KINDS = {("http", "search"): 3, ("oap", "send"): 1}
#: How long a call takes: none ends just when the crowd looks at how late the node is.
CALL_S = 0.37


class LeapingSelector(selectors.DefaultSelector):
    """Waits for nothing: what is waited is added to *now_s*."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop whose time is its selector's."""

    def __init__(self) -> None:
        self.selector = LeapingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now_s


class StubLoad:
    """Where calls would be made: each takes a while, and ends well."""

    under_way = 0

    async def call(self, door: str, call: str) -> tuple[Ended, float]:
        self.under_way += 1
        await asyncio.sleep(CALL_S)
        self.under_way -= 1
        return Ended(200), CALL_S


class StubWatch:
    """A node that is late by a millisecond for each call that is under way, and by as much alone."""

    def __init__(self, load: StubLoad) -> None:
        self.load = load

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time()

    async def fresh(self) -> None:
        await asyncio.sleep(0)

    def lags_s(self, since_s: float) -> list[float]:
        assert self.seconds > since_s
        return [0.0, 0.001 * max(1, self.load.under_way), 60.0]


class CrowdTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.load = StubLoad()
        self.watch = cast(Watch, StubWatch(self.load))
        self.tally = Tally()

    def run_(self, what: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(what)

    def crowd(self) -> Crowd:
        return Crowd(cast(Load, self.load), self.watch, KINDS, self.tally)

    def test_it_grows_until_the_node_is_late(self) -> None:
        async def grow() -> None:
            crowd = self.crowd()
            self.assertEqual(await crowd.until_late(0.01, 1_000), 0.016)
            self.assertEqual((crowd.size, self.load.under_way), (16, 16))
            await crowd.leave()

        self.run_(grow())

    def test_it_grows_no_further_than_told(self) -> None:
        """Then the node is not late, and that is told."""

        async def grow() -> None:
            crowd = self.crowd()
            self.assertEqual(await crowd.until_late(60.0, 31), 0.016)
            self.assertEqual(crowd.size, 16)
            await crowd.leave()

        self.run_(grow())

    def test_calls_count_where_they_end(self) -> None:
        """All of them count, and none after it has left."""
        later = Tally()

        async def count() -> None:
            crowd = self.crowd()
            await crowd.until_late(0.0, 4)
            crowd.count_in(later)
            before = self.tally.count()
            await asyncio.sleep(CALL_S)
            self.assertEqual((self.tally.count(), later.count()), (before, 4))
            await crowd.leave()
            self.assertEqual(self.load.under_way, 0)
            self.assertEqual(later.count() % 4, 0)
            self.assertGreater(later.count(), 4)
            self.assertEqual(later.count(call="search", door="http"), later.count(call="send") * 3)
            ended = later.count()
            await asyncio.sleep(10 * CALL_S)
            self.assertEqual(later.count(), ended)

        self.run_(count())

    def test_a_threshold(self) -> None:
        """It is twice the worst, within its bounds."""

        async def measure() -> None:
            self.assertEqual(await threshold_s(self.watch, 1.0, 0.005, 500.0), 120.0)
            self.assertEqual(await threshold_s(self.watch, 1.0, 0.005, 0.04), 0.04)
            self.assertEqual(await threshold_s(self.watch, 1.0, 200.0, 500.0), 200.0)

        self.run_(measure())
