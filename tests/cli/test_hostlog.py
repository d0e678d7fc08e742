"""A log that is not ours: events in words, of a level, before whatever observer its user chose."""

from __future__ import annotations

import io
from typing import Any

from twisted.application.app import AppLogger
from twisted.application.runner._runner import Runner
from twisted.application.service import Application
from twisted.internet.testing import MemoryReactor
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    globalLogBeginner,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from twisted.scripts._twistd_unix import UnixAppLogger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.cli.hostlog import HostLog


class HostLogCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[Any] = []
        self.patch(globalLogBeginner, "beginLoggingTo", self.begin)

    def begin(self, observers: list[Any], **options: Any) -> None:
        self.begun = list(observers)


class HostLogTests(HostLogCase):
    def observer(self, stream: io.StringIO, log: HostLog, make: Any = textFileLogObserver) -> Any:
        log.stand_before()
        globalLogBeginner.beginLoggingTo([make(stream)])
        (observer,) = self.begun
        verifyObject(ILogObserver, observer)
        return observer

    def printed(self, level: LogLevel, format: str, **fields: Any) -> str:
        stream = io.StringIO()
        Logger(namespace="micronode.x", observer=self.observer(stream, HostLog("debug"))).emit(
            level, format, **fields
        )
        return stream.getvalue().partition("[")[2]

    def test_fields_are_told(self) -> None:
        self.assertEqual(
            self.printed(LogLevel.error, "config_refused", reason="f:1: no", count=2, none=None),
            "micronode.x#error] config_refused reason=f:1: no count=2 none=None\n",
        )
        self.assertEqual(self.printed(LogLevel.info, "alone"), "micronode.x#info] alone\n")

    def test_nothing_acts_on_a_reader(self) -> None:
        line = self.printed(LogLevel.warn, "odd", reason="a\n[x#error] forged\x1b[2J\u2028{b}", text=b"\n")
        self.assertEqual(line, "micronode.x#warn] odd reason=a [x#error] forged [2J {b} text=b'\\n'\n")

    def test_what_is_told_in_words_already_stays(self) -> None:
        self.assertEqual(self.printed(LogLevel.info, "a {b}", b=1), "micronode.x#info] a 1\n")

    def test_a_failure(self) -> None:
        try:
            raise ZeroDivisionError("by zero")
        except ZeroDivisionError:
            failure = Failure()
        line = self.printed(LogLevel.critical, "failed", log_failure=failure)
        self.assertTrue(line.startswith("micronode.x#critical] failed reason=ZeroDivisionError: by zero\n"))
        self.assertEqual(line.count("Traceback"), 1)

    def test_level(self) -> None:
        stream = io.StringIO()
        log = HostLog("warning")
        to = Logger(observer=self.observer(stream, log))
        to.info("first")
        log.set_level("info")
        to.info("second")
        to.debug("third")
        self.assertEqual([line.split("] ")[1] for line in stream.getvalue().splitlines()], ["second"])

    def test_who_shows_fields_gets_them_as_they_are(self) -> None:
        stream = io.StringIO()
        observer = self.observer(stream, HostLog("info", in_words=False), jsonFileLogObserver)
        Logger(observer=observer).info("listening", address="x")
        self.assertIn('"log_format": "listening"', stream.getvalue())

    def test_fields_stay_fields(self) -> None:
        seen: list[LogEvent] = []
        HostLog("info").stand_before()
        globalLogBeginner.beginLoggingTo([seen.append])  # type: ignore[list-item]
        Logger(observer=self.begun[0]).info("listening", address="x")
        self.assertEqual((seen[0]["address"], seen[0]["log_format"]), ("x", "listening address={address}"))

    def test_only_once(self) -> None:
        begin = globalLogBeginner.beginLoggingTo
        self.observer(io.StringIO(), HostLog("info"))
        self.assertEqual(globalLogBeginner.beginLoggingTo, begin)


class TwistedNamesTests(HostLogCase):
    """How twistd and twist come to their observers. One that changes this fails here, by name."""

    def started(self, logger: AppLogger) -> Any:
        HostLog("info").stand_before()
        logger._initialLog = lambda: None  # type: ignore[method-assign]
        logger.start(Application("micronode"))
        (observer,) = self.begun
        return observer

    def test_twistd(self) -> None:
        path = self.mktemp()
        observer = self.started(UnixAppLogger({"logfile": path, "nodaemon": True}))
        observer({"log_format": "listening", "log_level": LogLevel.info, "log_time": 0.0, "address": "x"})
        with open(path, encoding="utf-8") as file:
            self.assertIn("listening address=x\n", file.read())

    def test_twistd_with_a_logger(self) -> None:
        legacy: list[dict[str, Any]] = []
        observer = self.started(UnixAppLogger({"logger": lambda: legacy.append}))
        observer({"log_format": "listening", "log_level": LogLevel.info, "log_time": 0.0, "address": "x"})
        self.assertEqual(legacy[0]["format"] % legacy[0], "listening address=x")

    def test_twist(self) -> None:
        stream = io.StringIO()
        HostLog("info").stand_before()
        Runner(
            reactor=MemoryReactor(), logFile=stream, fileLogObserverFactory=textFileLogObserver
        ).startLogging()
        Logger(namespace="micronode.x", observer=self.begun[0]).info("listening", address="x")
        self.assertIn("listening address=x\n", stream.getvalue())
