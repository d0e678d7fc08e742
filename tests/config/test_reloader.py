"""Reloads, one at a time, that never fail and never leave half of anything in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.bus import ConfigUpdated, Event, EventBus, ReloadEnded, ReloadStarted
from micronode.config.hot_reload import Outcome
from micronode.config.problems import ConfigError, Problem
from micronode.config.reloader import Reloader
from micronode.config.schema import Config
from micronode.config.sources import Loaded
from tests.support.measures import make_metrics, sample

NOW_S = 1_800_000_000.0


def config(**sections: Any) -> Config:
    return Config.from_mapping(sections)


GRACE = config(drain={"grace": "3s"})
MOVED = config(http={"listen": "127.0.0.1:7000"})


class MemoryTarget:
    """Takes configurations, unless told to fail.

    :ivar prepared: what was built, in force or not.
    """

    def __init__(self) -> None:
        self.config = Config()
        self.prepared: list[Config] = []
        self.error: Exception | None = None

    def prepare(self, config: Config) -> Config:
        if self.error is not None:
            raise self.error
        self.prepared.append(config)
        return config

    def commit(self, prepared: Config) -> None:
        self.config = prepared


class ReloaderCase(SynchronousTestCase):
    """A reloader whose reads are Deferreds that the test fires: :attr:`readings`."""

    def setUp(self) -> None:
        self.target = MemoryTarget()
        self.bus = EventBus()
        self.told = self.bus.subscribe()
        self.metrics = make_metrics()
        self.readings: list[Deferred[Loaded]] = []
        self.reloader = self.make(self.read)

    def make(self, read: Any) -> Reloader:
        return Reloader(self.target, read=read, bus=self.bus, metrics=self.metrics, wall=lambda: NOW_S)

    def read(self) -> Awaitable[Loaded]:
        self.readings.append(Deferred())
        return self.readings[-1]

    def reload(self, wanted: Config | ConfigError | Exception) -> Outcome:
        """Reload to what is read."""
        waiting = self.reloader.reload()
        if isinstance(wanted, Exception):
            self.readings[-1].errback(wanted)
        else:
            self.readings[-1].callback(Loaded(wanted))
        return self.successResultOf(waiting)

    def events(self) -> list[Event]:
        """Return what the bus has told; it is closed by that."""
        self.bus.close()

        async def heard() -> list[Event]:
            return [event async for event in self.told]

        return self.successResultOf(Deferred.fromCoroutine(heard()))

    def counts(self) -> dict[str, float]:
        names = ("applied", "unchanged", "refused", "failed")
        found = {name: sample(self.metrics, "config_reloads_total", outcome=name) for name in names}
        return {name: count for name, count in found.items() if count}

    def assert_untouched(self) -> None:
        self.assertEqual((self.target.config, self.target.prepared), (Config(), []))


class ReloadTests(ReloaderCase):
    """One reload."""

    def test_applied(self) -> None:
        with capturedLogs() as logs:
            outcome = self.reload(GRACE)
        self.assertEqual((outcome.outcome, outcome.config_sha), ("applied", GRACE.sha()))
        self.assertEqual([change.path for change in outcome.changes], ["drain.grace"])
        self.assertIs(self.target.config.drain.grace, GRACE.drain.grace)
        self.assertEqual(self.counts(), {"applied": 1})
        self.assertEqual(sample(self.metrics, "config_last_reload_timestamp_seconds"), NOW_S)
        self.assertEqual(
            self.events(),
            [
                ReloadStarted(),
                ConfigUpdated(
                    config_sha=GRACE.sha(),
                    previous_sha=Config().sha(),
                    changed=("drain.grace",),
                    restart=(),
                ),
                ReloadEnded(outcome="applied"),
            ],
        )
        (line,) = logs
        self.assertEqual((line["log_format"], line["log_level"]), ("config_reloaded", LogLevel.info))
        self.assertEqual((line["config_sha"], line["changed"]), (GRACE.sha(), "drain.grace"))
        assert self.reloader.last is not None
        self.assertEqual((self.reloader.last.outcome, self.reloader.last.at), (outcome, NOW_S))

    def test_a_line_of_the_log_names_so_many_keys(self) -> None:
        routes = [{"method": "GET", "access": "read"}]
        facets = {f"own{number}": {"kind": "echo", "routes": routes} for number in range(200)}
        with capturedLogs() as logs:
            outcome = self.reload(Config.from_mapping({"facets": facets}))
        named = logs[0]["changed"].split(", ")
        self.assertEqual(len(named), 41)
        self.assertEqual(named[-1], f"and {len(outcome.changes) - 40} more")

    def test_unchanged(self) -> None:
        with capturedLogs() as logs:
            outcome = self.reload(Config())
        self.assertEqual((outcome.outcome, outcome.changes), ("unchanged", ()))
        self.assertEqual(self.counts(), {"unchanged": 1})
        self.assertEqual(sample(self.metrics, "config_last_reload_timestamp_seconds"), NOW_S)
        self.assertEqual(self.events(), [ReloadStarted(), ReloadEnded(outcome="unchanged")])
        self.assertEqual([line["log_format"] for line in logs], ["config_unchanged"])

    def test_same_values_from_elsewhere(self) -> None:
        """Nothing changed, but /version tells where values come from."""
        outcome = self.reload(config(drain={"grace": "10s"}))
        self.assertEqual(outcome.outcome, "unchanged")
        self.assertEqual(self.target.config.source("drain.grace"), "program")

    def test_keys_that_need_a_restart(self) -> None:
        with capturedLogs() as logs:
            outcome = self.reload(config(http={"listen": "127.0.0.1:7000"}, drain={"grace": "3s"}))
        self.assertEqual((outcome.outcome, outcome.restart), ("applied", ("http.listen",)))
        self.assertEqual(self.target.config, GRACE)
        self.assertEqual(outcome.config_sha, GRACE.sha())
        needed = logs[-1]
        self.assertEqual(
            (needed["log_format"], needed["log_level"], needed["keys"]),
            ("config_restart_needed", LogLevel.warn, "http.listen"),
        )
        self.assertEqual(self.reloader.restart_required, ("http.listen",))
        updated = self.events()[1]
        assert isinstance(updated, ConfigUpdated)
        self.assertEqual((updated.changed, updated.restart), (("drain.grace",), ("http.listen",)))

    def test_only_what_needs_a_restart(self) -> None:
        outcome = self.reload(MOVED)
        self.assertEqual((outcome.outcome, outcome.restart), ("unchanged", ("http.listen",)))
        self.assertEqual(self.target.config, Config())
        self.reload(Config())
        self.assertEqual(self.reloader.restart_required, (), "it was taken back")

    def test_refused(self) -> None:
        problem = Problem("node.toml:3", "unknown key", "remove it")
        with capturedLogs() as logs:
            outcome = self.reload(ConfigError([problem, problem]))
        self.assertEqual((outcome.outcome, outcome.problems), ("refused", (problem, problem)))
        self.assertEqual(outcome.config_sha, Config().sha())
        self.assert_untouched()
        self.assertEqual(self.counts(), {"refused": 1})
        self.assertEqual(sample(self.metrics, "config_last_reload_timestamp_seconds"), 0)
        self.assertEqual(self.events()[-1], ReloadEnded(outcome="refused", reason=outcome.reason))
        self.assertEqual(
            [(line["log_format"], line["log_level"], line["reason"]) for line in logs],
            [("config_refused", LogLevel.error, str(problem))] * 2,
        )

    def test_many_problems_are_twenty_lines(self) -> None:
        for count, lines in ((20, 20), (21, 20), (500, 20)):
            problems = [Problem(f"f:{number}", "wrong", "fix") for number in range(count)]
            with capturedLogs() as logs:
                self.assertEqual(len(self.reload(ConfigError(problems)).problems), count)
            self.assertEqual(len(logs), lines)
        self.assertIn("and 481 more problems", logs[-1]["reason"])

    def test_what_is_not_built(self) -> None:
        outcome = self.reload(config(pq={"mode": "required"}))
        self.assertEqual(outcome.outcome, "refused")
        self.assertIn("not available yet", outcome.reason)
        self.assert_untouched()

    def test_a_defect_of_reading(self) -> None:
        with capturedLogs() as logs:
            outcome = self.reload(ZeroDivisionError("nought"))
        self.assertEqual(outcome.outcome, "failed")
        self.assertIn("a defect of its own", outcome.reason)
        self.assertNotIn("nought", outcome.reason)
        self.assert_untouched()
        self.assertEqual([line["log_format"] for line in logs], ["config_reload_failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.counts(), {"failed": 1})
        self.assertEqual(self.reload(GRACE).outcome, "applied", "the next one is not affected")

    def test_reading_that_raises_at_once(self) -> None:
        for error, expected in (
            (KeyError("x"), "failed"),
            (SystemExit(78), "failed"),
            (asyncio.CancelledError(), "failed"),
            (ConfigError([Problem("f", "wrong", "fix")]), "refused"),
        ):

            def read(error: BaseException = error) -> Awaitable[Loaded]:
                raise error

            outcome = self.successResultOf(self.make(read).reload())
            self.assertEqual(outcome.outcome, expected)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_reader_that_reads_something_else(self) -> None:
        reloader = self.make(lambda: succeed({"drain": {}}))
        self.assertEqual(self.successResultOf(reloader.reload()).outcome, "failed")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assert_untouched()

    def test_preparing_fails(self) -> None:
        self.target.error = ZeroDivisionError()
        self.assertEqual(self.reload(GRACE).outcome, "failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.target.config, Config())
        self.target.error = ConfigError([Problem("tls.certificate", "cannot be read", "make it readable")])
        self.assertEqual(self.reload(GRACE).outcome, "refused")
        self.assertEqual(self.target.config, Config())

    def test_from_a_config(self) -> None:
        outcome = self.successResultOf(self.reloader.reload(GRACE))
        self.assertEqual((outcome.outcome, self.readings), ("applied", []))
        self.assertEqual(self.target.config, GRACE)

    def test_nothing_to_read(self) -> None:
        reloader = self.make(None)
        outcome = self.successResultOf(reloader.reload())
        self.assertEqual(outcome.outcome, "refused")
        self.assertIn("hand reload() a Config", outcome.reason)
        self.assertEqual(self.successResultOf(reloader.reload(GRACE)).outcome, "applied")

    def test_warnings(self) -> None:
        waiting = self.reloader.reload()
        with capturedLogs() as logs:
            self.readings[0].callback(Loaded(Config(), ("ignored MICRONODE_PORT",)))
        self.assertEqual(self.successResultOf(waiting).warnings, ("ignored MICRONODE_PORT",))
        self.assertEqual(
            (logs[0]["log_format"], logs[0]["reason"]), ("environment", "ignored MICRONODE_PORT")
        )


class CoalescingTests(ReloaderCase):
    """Several at once."""

    def test_those_that_come_meanwhile_share_one_that_follows(self) -> None:
        first = self.reloader.reload()
        others = [self.reloader.reload() for _ in range(5)]
        self.assertEqual(len(self.readings), 1, "one at a time")
        self.readings[0].callback(Loaded(GRACE))
        self.assertEqual(self.successResultOf(first).outcome, "applied")
        self.assertEqual(len(self.readings), 2, "it was read before they asked, so it is read again")
        for other in others:
            self.assertNoResult(other)
        self.readings[1].callback(Loaded(Config()))
        outcomes = [self.successResultOf(other) for other in others]
        self.assertEqual({id(outcome) for outcome in outcomes}, {id(outcomes[0])})
        self.assertEqual(outcomes[0].outcome, "applied")
        self.assertEqual(len(self.readings), 2)
        self.assertEqual(self.counts(), {"applied": 2})

    def test_what_was_asked_for_last_is_taken(self) -> None:
        self.reloader.reload()
        second, third = self.reloader.reload(MOVED), self.reloader.reload(GRACE)
        self.readings[0].callback(Loaded(Config()))
        self.assertEqual(self.target.config, GRACE)
        self.assertEqual(self.successResultOf(second), self.successResultOf(third))

    def test_the_one_that_follows_a_failure(self) -> None:
        first, second = self.reloader.reload(), self.reloader.reload()
        self.readings[0].errback(ConfigError([Problem("f", "wrong", "fix")]))
        self.assertEqual(self.successResultOf(first).outcome, "refused")
        self.readings[1].callback(Loaded(GRACE))
        self.assertEqual(self.successResultOf(second).outcome, "applied")

    def test_a_caller_that_gives_up(self) -> None:
        """The reload goes on, and so do the others who wait."""
        gone, stays = self.reloader.reload(), self.reloader.reload()
        also_gone = self.reloader.reload()
        for each in (gone, also_gone):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.readings[0].callback(Loaded(GRACE))
        self.readings[1].callback(Loaded(GRACE))
        self.assertEqual(self.successResultOf(stays).outcome, "unchanged")
        self.assertEqual(self.target.config, GRACE)

    def test_a_caller_that_makes_the_others_give_up(self) -> None:
        first = self.reloader.reload()
        others = [self.reloader.reload() for _ in range(3)]
        others[0].addCallback(lambda outcome: others[2].cancel())
        self.readings[0].callback(Loaded(GRACE))
        self.readings[1].callback(Loaded(GRACE))
        for each in (first, others[1]):
            self.successResultOf(each)
        self.failureResultOf(others[2], CancelledError)

    def test_asked_for_by_who_hears_of_the_end(self) -> None:
        outcomes: list[str] = []

        async def listen() -> None:
            async for event in self.bus.subscribe():
                if isinstance(event, ReloadEnded):
                    outcomes.append(event.outcome)
                    if len(outcomes) == 1:
                        self.reloader.reload(Config())

        Deferred.fromCoroutine(listen())
        self.assertEqual(self.reload(GRACE).outcome, "applied")
        self.assertEqual((outcomes, self.target.config), (["applied", "applied"], Config()))


class PreviewTests(ReloaderCase):
    """preview()."""

    def preview(self, wanted: Config | Exception) -> Outcome:
        waiting = self.reloader.preview()
        if isinstance(wanted, Exception):
            self.readings[-1].errback(wanted)
        else:
            self.readings[-1].callback(Loaded(wanted))
        return self.successResultOf(waiting)

    def test_a_file_that_was_rewritten(self) -> None:
        class Rewritten:
            rewritten = ("owners.index.ca",)

        self.target.prepare = lambda config: Rewritten()  # type: ignore[assignment,method-assign,return-value]
        outcome = self.preview(Config())
        paths = [change.path for change in outcome.changes]
        self.assertEqual((outcome.outcome, paths), ("would_apply", ["owners.index.ca"]))

    def test_tells_and_changes_nothing(self) -> None:
        both = config(http={"listen": "127.0.0.1:7000"}, drain={"grace": "3s"})
        with capturedLogs() as logs:
            outcome = self.preview(both)
        self.assertEqual((outcome.outcome, outcome.config_sha), ("would_apply", Config().sha()))
        self.assertEqual(
            [(change.path, change.live) for change in outcome.changes],
            [("http.listen", False), ("drain.grace", True)],
        )
        self.assertEqual(self.target.config, Config())
        self.assertEqual((logs, self.counts(), self.reloader.last), ([], {}, None))
        self.assertEqual(self.events(), [])

    def test_the_other_outcomes(self) -> None:
        self.assertEqual(self.preview(Config()).outcome, "unchanged")
        self.assertEqual(self.preview(MOVED).outcome, "unchanged")
        problem = Problem("f:1", "wrong", "fix")
        self.assertEqual(self.preview(ConfigError([problem])).problems, (problem,))
        self.assertEqual(self.preview(config(pq={"mode": "hybrid"})).outcome, "refused")
        self.assertEqual(self.preview(ZeroDivisionError()).outcome, "failed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.counts(), {})

    def test_it_prepares_so_it_knows_what_would_fail(self) -> None:
        self.target.error = ConfigError([Problem("tls.certificate", "cannot be read", "fix")])
        self.assertEqual(self.preview(GRACE).outcome, "refused")

    def test_one_at_a_time(self) -> None:
        waiting = [self.reloader.preview() for _ in range(3)]
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.readings[0].callback(Loaded(GRACE))
        self.assertEqual(len(self.readings), 1)
        for each in waiting[1:]:
            self.assertEqual(self.successResultOf(each).outcome, "would_apply")
        self.reloader.preview()
        self.assertEqual(len(self.readings), 2)

    def test_beside_a_reload_it_tells_what_is_true_at_its_end(self) -> None:
        preview = self.reloader.preview()
        self.reload(GRACE)
        self.readings[0].callback(Loaded(GRACE))
        self.assertEqual(self.successResultOf(preview).outcome, "unchanged")


class DrainTests(ReloaderCase):
    """stop()."""

    def test_what_is_under_way_ends_at_once(self) -> None:
        cancelled: list[object] = []
        self.reloader = self.make(lambda: Deferred(cancelled.append))
        waiting = [self.reloader.reload(), self.reloader.reload(), self.reloader.preview()]
        self.reloader.stop()
        for each in waiting:
            outcome = self.successResultOf(each)
            self.assertEqual((outcome.outcome, outcome.config_sha), ("draining", Config().sha()))
            self.assertIn("the node is stopping", outcome.reason)
        self.assertEqual(len(cancelled), 2)
        self.assert_untouched()
        events = self.events()
        self.assertEqual([type(event) for event in events], [ReloadStarted, ReloadEnded])
        self.assertEqual((self.counts(), self.reloader.last), ({}, None))

    def test_a_reader_that_does_not_let_itself_be_cancelled(self) -> None:
        late: list[Deferred[Loaded]] = [Deferred(), Deferred()]
        for answer in (Loaded(GRACE), ConfigError([Problem("f", "wrong", "fix")]), KeyError("defect")):
            late = [Deferred(), Deferred()]

            async def read(late: list[Deferred[Loaded]] = late) -> Loaded:
                try:
                    return await late[0]
                except CancelledError:
                    return await late[1]

            reloader = self.make(read)
            waiting = [reloader.reload(), reloader.preview()]
            reloader.stop()
            for each in waiting:
                self.assertEqual(self.successResultOf(each).outcome, "draining")
            if isinstance(answer, Loaded):
                late[1].callback(answer)
            else:
                late[1].errback(answer)
        self.assert_untouched()
        self.assertEqual((self.counts(), self.flushLoggedErrors()), ({}, []))

    def test_afterwards(self) -> None:
        self.reloader.stop()
        self.reloader.stop()
        with capturedLogs() as logs:
            for waiting in (self.reloader.reload(), self.reloader.reload(GRACE), self.reloader.preview()):
                self.assertEqual(self.successResultOf(waiting).outcome, "draining")
        self.assertEqual([line["log_format"] for line in logs], ["config_reload_ignored"] * 2)
        self.assertEqual((self.readings, self.events()), ([], []))
        self.assert_untouched()

    def test_stopped_while_it_takes_effect(self) -> None:
        """As a listener may that hears of an owner which is gone; what was applied is told as that."""
        commit = self.target.commit

        def stop_too(prepared: Config) -> None:
            commit(prepared)
            self.reloader.stop()

        self.target.commit = stop_too  # type: ignore[method-assign]
        self.assertEqual(self.reload(GRACE).outcome, "applied")
        self.assertEqual(self.target.config, GRACE)

    def test_stopped_by_who_hears_of_it(self) -> None:
        """Whatever is told, it is told once, and what was applied is told as that."""
        for stop_at, expected in ((ReloadStarted, "draining"), (ConfigUpdated, "applied")):
            self.setUp()

            async def listen(stop_at: type = stop_at) -> None:
                async for event in self.bus.subscribe():
                    if isinstance(event, stop_at):
                        self.reloader.stop()

            Deferred.fromCoroutine(listen())
            waiting = self.reloader.reload(GRACE)
            self.assertEqual(self.successResultOf(waiting).outcome, expected)
            ended = [event for event in self.events() if isinstance(event, ReloadEnded)]
            self.assertEqual([event.outcome for event in ended], [expected])


class ResultTests(ReloaderCase):
    """A read may return any awaitable."""

    def test_kinds(self) -> None:
        async def coroutine() -> Loaded:
            return Loaded(GRACE)

        for read, outcome in (
            (coroutine, "applied"),
            (lambda: succeed(Loaded(Config())), "applied"),
            (lambda: fail(ConfigError([Problem("f", "wrong", "fix")])), "refused"),
        ):
            self.assertEqual(self.successResultOf(self.make(read).reload()).outcome, outcome)
