"""The log: one line an event whatever is in it, and a reader that went away harms nobody."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import micronode
from micronode.observability.logging import LineObserver, log_fields, stream_observer
from micronode.observability.writer import LOOK_S, MAX_LINES

ROOT = Path(micronode.__file__).parent.parent
#: What a caller might put into a value to make it look like another event.
FORGERIES = (
    'x\n{"ts":"2026-01-01T00:00:00.000Z","level":"error","event":"forged"}',
    "x\r\nforged",
    "x\x0bforged\x0cforged",
    "x\x1cforged\x1dforged\x1eforged",
    "x\x85forged",
    "x\u2028forged\u2029forged",
    "x\x1b[2Jforged\x00",
    "x\u202edegrof",
    "\ud800forged",
    '","event":"forged","x":"',
)


class Unprintable:
    """Somebody's object whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Log:
    """A logger whose only observer writes to :attr:`text`."""

    def __init__(
        self, level: str = "debug", *, console: bool = False, namespace: str = "micronode.x"
    ) -> None:
        self.stream = io.StringIO()
        #: Whether each line was in a hurry.
        self.hurries: list[bool] = []
        self.observer = LineObserver(self.write, level, console=console)
        publisher = LogPublisher(self.observer)
        self.to = Logger(namespace=namespace, observer=publisher)

    def write(self, line: str, *, hurry: bool = True) -> None:
        self.stream.write(line)
        self.hurries.append(hurry)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        """All lines, by the most generous notion of a line's end there is."""
        return self.text.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def failure() -> Failure:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return Failure()


class JSONTests(SynchronousTestCase):
    """Off a terminal."""

    def test_interface(self) -> None:
        verifyObject(ILogObserver, Log().observer)

    def test_line(self) -> None:
        log = Log()
        log.observer(
            {
                "log_level": LogLevel.info,
                "log_time": 1_767_225_600.25,
                "log_format": "listening",
                "log_namespace": "micronode.node",
                "listener": "http",
                "address": "127.0.0.1:5310",
            }
        )
        self.assertEqual(
            log.text,
            '{"ts":"2026-01-01T00:00:00.250Z","level":"info","service":"micronode","event":"listening",'
            '"listener":"http","address":"127.0.0.1:5310"}\n',
        )

    def test_moment(self) -> None:
        """Whatever lies between two events, each has its own."""
        log = Log()
        for moment in (1_767_225_600.9996, 1_767_225_599.0, 1_767_225_600.0, 0.001, 1_767_225_660.5):
            log.observer({"log_level": LogLevel.info, "log_time": moment, "log_format": "x"})
        self.assertEqual(
            [line["ts"] for line in log.objects],
            [
                "2026-01-01T00:00:00.999Z",
                "2025-12-31T23:59:59.000Z",
                "2026-01-01T00:00:00.000Z",
                "1970-01-01T00:00:00.001Z",
                "2026-01-01T00:01:00.500Z",
            ],
        )

    def test_number_that_is_none(self) -> None:
        """Also where nothing else of the event needs another look."""
        log = Log()
        log.to.info("took", seconds=float("nan"), bytes=5)
        log_fields(log.to, LogLevel.info, "access", {"seconds": float("inf"), "status": 200})
        first, second = log.objects
        self.assertEqual((first["seconds"], first["bytes"]), ("nan", 5))
        self.assertEqual((second["seconds"], second["status"]), ("inf", 200))

    def test_what_is_told_of_every_request_is_in_no_hurry(self) -> None:
        log = Log()
        log_fields(log.to, LogLevel.info, "access", {"status": 200})
        log.to.info("listening")
        log.to.warn("late")
        self.assertEqual([line["event"] for line in log.objects], ["access", "listening", "late"])
        self.assertEqual(log.hurries, [False, True, True])
        self.assertNotIn("log_hurry", log.text)

    def test_access_line(self) -> None:
        """Numbers stay numbers, what is unknown is null, and nothing is nested."""
        log = Log()
        log.to.info("access", status=200, latency_ms=1.25, request_id="r", cap=None, amnesia=True, n=2**64)
        line = log.objects[0]
        self.assertEqual(
            (line["status"], line["latency_ms"], line["cap"], line["amnesia"], line["n"]),
            (200, 1.25, None, True, 2**64),
        )

    def test_flat(self) -> None:
        log = Log()
        values = {
            "nested": ({"b": [1]}, "{'b': [1]}"),
            "several": ([1, 2], "[1, 2]"),
            "octets": (b"\xff", "b'\\xff'"),
            "not_a_number": (float("nan"), "nan"),
            "endless": (float("-inf"), "-inf"),
            "stubborn": (Unprintable(), "<Unprintable>"),
        }
        log.to.info("odd", **{name: value for name, (value, _) in values.items()})
        line = log.objects[0]
        for name, (_, expected) in values.items():
            self.assertEqual(line[name], expected)

    def test_what_every_line_has_cannot_be_replaced(self) -> None:
        log = Log()
        forged = {"ts": "never", "level": "none", "service": "other", "event": "forged"}
        log.observer({"log_format": "real", "log_level": LogLevel.info, "log_time": 0.0} | forged)
        line = log.objects[0]
        self.assertEqual((line["level"], line["service"], line["event"]), ("info", "micronode", "real"))
        self.assertNotEqual(line["ts"], "never")
        self.assertEqual(list(line)[:4], ["ts", "level", "service", "event"])

    def test_no_second_line(self) -> None:
        for value in FORGERIES:
            log = Log()
            log.to.info("access", peer=value)
            self.assertEqual(len(log.lines), 1, repr(value))
            line = log.objects[0]
            self.assertEqual((line["event"], line["peer"]), ("access", value))
            self.assertTrue(log.text.isascii(), repr(value))

    def test_text_instead_of_a_name(self) -> None:
        """An event of another library has a sentence; it is rendered."""
        log = Log()
        log.to.warn("Could not {what}!\nReally.", what="listen")
        self.assertEqual(log.objects[0]["event"], "Could not listen!\nReally.")
        self.assertEqual(log.objects[0]["level"], "warning")

    def test_a_format_that_does_not_fit(self) -> None:
        log = Log()
        log.to.info("of {nothing}")
        self.assertEqual(len(log.lines), 1)
        self.assertIn("nothing", log.objects[0]["event"])

    def test_failure(self) -> None:
        """Traceback and all in one line."""
        log = Log()
        log.to.failure("call_failed", failure(), route="search.query")
        self.assertEqual(len(log.lines), 1)
        line = log.objects[0]
        self.assertEqual((line["level"], line["event"]), ("critical", "call_failed"))
        self.assertEqual((line["reason"], line["route"]), ("ValueError: two\nlines", "search.query"))
        self.assertIn("in failure\n", line["traceback"])
        self.assertNotIn("log_failure", line)

    def test_failure_without_frames(self) -> None:
        """One that was cleaned, or never raised, has no traceback to show."""
        cleaned = failure()
        cleaned.cleanFailure()
        for each in (cleaned, Failure(ValueError("never raised"))):
            log = Log()
            log.to.failure("call_failed", each)
            self.assertEqual(len(log.lines), 1)
            self.assertTrue(log.objects[0]["reason"].startswith("ValueError: "))

    def test_unhandled_error_of_a_deferred(self) -> None:
        """As Twisted reports it: through its own namespace, and never swallowed."""
        log = Log(namespace="twisted.internet.defer")
        log.to.failure("Unhandled error in Deferred:", failure())
        self.assertEqual(log.objects[0]["event"], "Unhandled error in Deferred:")


class LevelTests(SynchronousTestCase):
    """What is written at all."""

    def test_is_changed_while_it_runs(self) -> None:
        log = Log("warning")
        log.to.info("before")
        log.observer.set_level("debug")
        log.to.debug("lower")
        log.observer.set_level("error")
        log.to.warn("after")
        log.to.error("still")
        self.assertEqual([line["event"] for line in log.objects], ["lower", "still"])

    def levels(self, log: Log) -> list[str]:
        for name in ("debug", "info", "warn", "error", "critical"):
            getattr(log.to, name)("event")
        return [line["level"] for line in log.objects]

    def test_least(self) -> None:
        everything = ["debug", "info", "warning", "error", "critical"]
        for position, level in enumerate(everything[:4]):
            self.assertEqual(self.levels(Log(level)), everything[position:])

    def test_unknown_level(self) -> None:
        self.assertRaises(KeyError, Log, "loud")

    def test_chatter(self) -> None:
        """Twisted tells of every connection at info; what goes wrong in it is ours to know."""
        for namespace in ("twisted.internet.tcp", "log_legacy"):
            self.assertEqual(self.levels(Log(namespace=namespace)), ["warning", "error", "critical"])

    def test_no_level_is_info(self) -> None:
        log = Log("info")
        log.observer({"log_format": "event", "log_time": 0.0})
        self.assertEqual(log.objects[0]["level"], "info")
        log = Log("warning")
        log.observer({"log_format": "event", "log_time": 0.0})
        self.assertEqual(log.text, "")


class ConsoleTests(SynchronousTestCase):
    """On a terminal."""

    def test_line(self) -> None:
        log = Log(console=True)
        log.to.info("listening", listener="http", address="[::1]:53")
        self.assertRegex(log.text, r"^\d\d:\d\d:\d\d info    listening listener=http address=\[::1\]:53\n$")

    def test_no_second_line(self) -> None:
        for value in FORGERIES:
            log = Log(console=True)
            log.to.info("access", peer=value)
            self.assertEqual(len(log.lines), 1, repr(value))
            self.assertNotIn("\x1b", log.text)

    def test_failure(self) -> None:
        """Only the traceback has lines of its own, each of them indented."""
        log = Log(console=True)
        log.to.failure("call_failed", failure())
        first, *rest = log.lines
        self.assertIn("critical call_failed reason=ValueError: two lines", first)
        self.assertTrue(rest)
        self.assertTrue(all(line.startswith("  ") for line in rest))

    def test_values_without_text(self) -> None:
        log = Log(console=True)
        log.to.info("odd", value=Unprintable())
        self.assertIn("value=<Unprintable>", log.text)


class StreamTests(SynchronousTestCase):
    """stream_observer(): what is written where."""

    def test_reader_that_comes_back_is_told_what_it_missed(self) -> None:
        near, far = os.pipe()
        self.addCleanup(os.close, near)
        clock = Clock()
        with os.fdopen(far, "w") as stream:
            observer = stream_observer(stream, "info", "json", clock)
            # The longer half of them fills the pipe, the other what is kept; the rest is lost.
            for number in range(3 * MAX_LINES):
                observer(
                    {
                        "log_format": "event",
                        "log_time": 0.0,
                        "n": number,
                        "x": "x" * 200 * (number < MAX_LINES),
                    }
                )
            seen = b""
            while b"log_dropped" not in seen:
                seen += os.read(near, 65_536)
                clock.advance(LOOK_S)
        *kept, last = [json.loads(line) for line in seen.splitlines()]
        self.assertEqual([line["n"] for line in kept], list(range(len(kept))))
        self.assertEqual((last["event"], last["level"]), ("log_dropped", "warning"))
        self.assertEqual(last["count"], 3 * MAX_LINES - len(kept))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_narrow_encoding(self) -> None:
        """A terminal that cannot show a character does not cost the line."""
        file = Path(self.mktemp())
        with file.open("w", encoding="ascii") as stream:
            observer = stream_observer(stream, "info", "console", Clock())
            observer({"log_format": "event", "log_time": 0.0, "title": "caf\u00e9"})
        self.assertIn(b"title=caf\\xe9\n", file.read_bytes())

    def test_no_descriptor(self) -> None:
        stream = io.StringIO()
        stream_observer(stream, "info", "auto", Clock())({"log_format": "event", "log_time": 0.0})
        self.assertEqual(json.loads(stream.getvalue())["event"], "event")


class StartTests(SynchronousTestCase):
    """start_logging(), which is process-wide: each in a process of its own."""

    def said(self, stream: str, format: str, *descriptors: int) -> str:
        """Return what a process prints that logs to *stream*, an expression, in *format*."""
        program = (
            f"import os, sys; sys.path[:0] = {[str(ROOT)]!r}\n"
            "from twisted.logger import Logger\n"
            "from twisted.internet.task import Clock\n"
            "from micronode.observability.logging import start_logging\n"
            "Logger('micronode.x').info('before')\n"
            f"start_logging({stream}, 'info', {format!r}, Clock())\n"
            "Logger('micronode.x').debug('too_fine')\n"
            "Logger('micronode.x').info('started', n=1)\n"
            "print('plain')\n"
            "sys.stdout.flush()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=descriptors,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_a_pipe(self) -> None:
        """Without a terminal: JSON. What the program prints itself stays as it is."""
        for format in ("auto", "json"):
            *events, plain = self.said("sys.stdout", format).splitlines()
            self.assertEqual([json.loads(line)["event"] for line in events], ["started"])
            self.assertEqual(plain, "plain")

    def test_console(self) -> None:
        self.assertRegex(self.said("sys.stdout", "console"), r"info    started n=1\nplain\n$")

    def test_a_terminal(self) -> None:
        """On one, a person reads."""
        near, far = pty.openpty()
        self.addCleanup(os.close, near)
        said = self.said(f"os.fdopen({far}, 'w')", "auto", far)
        os.close(far)
        self.assertEqual(said, "plain\n")
        self.assertRegex(os.read(near, 4096), rb"info    started n=1\r\n$")
