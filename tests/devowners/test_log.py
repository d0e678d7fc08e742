"""Tests for :mod:`micronode.devowners.log`."""

import io
import json
from typing import Any

from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.devowners.log import JSONLog


class JSONLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stream = io.StringIO()
        self.log = JSONLog(self.stream)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_one_object_a_line(self) -> None:
        self.log.info("ready", documents=3, text="a\nb")
        self.log.warn("odd")
        first, second = self.lines()
        self.assertEqual(list(first), ["ts", "level", "event", "documents", "text"])
        self.assertRegex(first["ts"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual((second["level"], second["event"]), ("warning", "odd"))

    def test_below_the_level_nothing_is_written(self) -> None:
        self.log.debug("request")
        JSONLog(self.stream, "error").warn("odd")
        self.assertEqual(self.lines(), [])

    def test_a_defect_is_named_without_its_text(self) -> None:
        try:
            raise ValueError("the caller said: secret")
        except ValueError as error:
            self.log.failed("defect", error)
        (line,) = self.lines()
        self.assertEqual((line["level"], line["error"]), ("error", "ValueError"))
        self.assertIn("test_a_defect", line["where"])
        self.assertNotIn("secret", self.stream.getvalue())

    def test_twisted_events(self) -> None:
        verifyObject(ILogObserver, self.log)
        logger = Logger(namespace="web", observer=self.log)
        logger.info("timing out {peer}", peer="them")
        logger.warn("hm")
        logger.failure("oh", Failure(KeyError("secret")))
        warned, failed = self.lines()
        self.assertEqual((warned["level"], warned["namespace"]), ("warning", "web"))
        self.assertEqual((failed["event"], failed["error"]), ("unhandled", "KeyError"))

    def test_a_closed_stream_is_no_error(self) -> None:
        self.stream.close()
        self.log.error("anything")
