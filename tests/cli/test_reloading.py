"""Reading again in a thread, SIGHUP, and what a node's events do to the process."""

from __future__ import annotations

import threading
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from micronode.bus import ConfigUpdated, EventBus, HealthChanged, StateChanged
from micronode.cli.reloading import follow, reader, reload_node
from micronode.config.hot_reload import Outcome
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import Config
from micronode.config.sources import Loaded

UPDATED = ConfigUpdated(config_sha="b", previous_sha="a", changed=("log.level",), restart=())


class StubNode:
    """A node whose reloads end well."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.config = Config()
        self.reloads = 0

    def reload(self) -> Deferred[Outcome]:
        self.reloads += 1
        return succeed(Outcome(outcome="applied", config_sha="abc"))


class ThreadReactor(Clock):
    """Runs what threads hand it, when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self._handed: list[Any] = []
        self._came = threading.Semaphore(0)

    def callFromThread(self, *call: Any) -> None:
        self._handed.append(call)
        self._came.release()

    def run_one(self) -> None:
        assert self._came.acquire(timeout=30)
        function, *args = self._handed.pop(0)
        function(*args)


class ReaderTests(SynchronousTestCase):
    def test_reads_in_a_thread_that_nobody_waits_for(self) -> None:
        reactor, seen = ThreadReactor(), []
        loaded = Loaded(Config())

        def load() -> Loaded:
            seen.append(threading.current_thread())
            return loaded

        reading = ensureDeferred(reader(reactor, load)())
        reactor.run_one()
        self.assertIs(self.successResultOf(reading), loaded)
        self.assertIsNot(seen[0], threading.main_thread())
        self.assertTrue(seen[0].daemon)

    def test_what_it_raises_is_raised(self) -> None:
        for error in (ConfigError([Problem("f:1", "x", "y")]), ZeroDivisionError()):

            def load(error: Exception = error) -> Loaded:
                raise error

            reactor = ThreadReactor()
            reading = ensureDeferred(reader(reactor, load)())
            reactor.run_one()
            self.assertIs(self.failureResultOf(reading).value, error)

    def test_given_up(self) -> None:
        reactor = ThreadReactor()
        reading = reader(reactor, lambda: Loaded(Config()))()
        assert isinstance(reading, Deferred)
        reading.cancel()
        self.failureResultOf(reading)
        reactor.run_one()
        self.assertEqual(self.flushLoggedErrors(), [])


class ReloadNodeTests(SynchronousTestCase):
    def lines(self, node: StubNode | None) -> list[tuple[Any, ...]]:
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        reload_node(node)  # type: ignore[arg-type]
        return [
            (event["log_level"], event["log_format"], event["reason"])
            for event in events
            if event["log_namespace"] == "micronode.cli.reloading"
        ]

    def test_the_node_tells_what_came_of_it(self) -> None:
        node = StubNode()
        self.assertEqual((self.lines(node), node.reloads), ([], 1))

    def test_before_there_is_one(self) -> None:
        self.assertEqual(
            self.lines(None), [(LogLevel.warn, "config_reload_ignored", "the node has not started yet")]
        )


class FollowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node: Any = StubNode()
        self.clock = Clock()
        self.levels: list[str] = []
        self.drained: list[bool] = []

    def set_level(self, level: str) -> None:
        self.levels.append(level)

    def follow(self, observer: Any) -> None:
        follow(self.node, self.clock, observer, lambda: self.drained.append(True))

    def test_level(self) -> None:
        self.follow(self)
        self.node.bus.publish(HealthChanged(name="index", state="ok", previous="down"))
        self.assertEqual(self.levels, [])
        self.node.config = Config.from_mapping({"log": {"level": "debug"}})
        self.node.bus.publish(UPDATED)
        self.assertEqual(self.levels, ["debug"])

    def test_a_log_that_is_not_ours(self) -> None:
        self.follow(None)
        self.node.bus.publish(UPDATED)
        self.node.bus.publish(UPDATED)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_node_that_stops_by_itself(self) -> None:
        self.follow(None)
        self.node.bus.publish(StateChanged(state="running", previous="starting"))
        self.node.bus.publish(StateChanged(state="draining", previous="running"))
        self.assertEqual(self.drained, [])
        self.clock.advance(0)
        self.assertEqual(self.drained, [True])

    def test_until_it_has_stopped(self) -> None:
        self.follow(self)
        self.node.bus.close()
        self.node.bus.publish(UPDATED)
        self.assertEqual(self.levels, [])
