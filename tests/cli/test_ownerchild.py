"""The child process of dev: its command line, its report, and how it ends."""

import json
import os
import signal
import sys

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from micronode.cli.exits import CommandError
from micronode.cli.ownerchild import OwnersChild
from micronode.config.schema import OWNER_NAMES
from tests.cli.support import CommandTestCase, ScriptReactor, SpyProcess

URLS = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(OWNER_NAMES, 1)}


def report(urls: object) -> bytes:
    return json.dumps(urls).encode() + b"\n"


class OwnersChildTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = ScriptReactor()
        self.lost: list[str] = []
        self.child = OwnersChild(self.reactor, self.lost.append)
        self.ready = self.child.spawn(["--corpus", "docs"])
        self.spawned = self.reactor.spawned[0]
        self.process: SpyProcess = self.spawned["process"]

    def end(self, *, code: int = 0, number: int | None = None) -> None:
        self.process.gone = True
        done = ProcessDone(0) if code == 0 and number is None else ProcessTerminated(code, number)
        self.child.processEnded(Failure(done))

    def test_command_line_and_descriptors(self) -> None:
        args = self.spawned["args"]
        self.assertEqual(args[:4], [sys.executable, "-m", "micronode", "owners"])
        self.assertEqual(args[-2:], ["--corpus", "docs"])
        descriptors = self.spawned["childFDs"]
        self.assertEqual(descriptors[int(args[args.index("--report-fd") + 1])], "r")
        self.assertEqual(descriptors[int(args[args.index("--parent-fd") + 1])], "w")
        self.assertEqual((descriptors[1], descriptors[2]), (2, 2))
        self.assertRaises(OSError, os.fstat, descriptors[0])
        self.assertIsNone(self.spawned["env"])

    def test_terminal_signals_are_blocked_for_the_child_only(self) -> None:
        self.assertTrue({signal.SIGINT, signal.SIGHUP} <= self.reactor.mask)
        self.assertNotIn(signal.SIGINT, signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    def test_report_in_pieces(self) -> None:
        line = report({**URLS, "other": "http://127.0.0.1:9"})
        for position in range(len(line)):
            self.assertNoResult(self.ready)
            self.child.childDataReceived(3, line[position : position + 1])
        self.assertEqual(self.successResultOf(self.ready), URLS)
        self.child.childDataReceived(3, b"more")

    def test_other_descriptors_are_not_the_report(self) -> None:
        self.child.childDataReceived(4, report(URLS))
        self.assertNoResult(self.ready)

    def test_bad_reports(self) -> None:
        for data in (b"\n", b"[]\n", report({"index": "x", "storage": "y"}), b"\xff\n", b"x" * 5000):
            child = OwnersChild(self.reactor, self.lost.append)
            ready = child.spawn([])
            child.childDataReceived(3, data)
            self.assertEqual(self.failureResultOf(ready, CommandError).value.code, 70)

    def test_ends_before_the_report(self) -> None:
        for code, number, expected in [
            (78, None, 78),
            (69, None, 69),
            (64, None, 64),
            (1, None, 1),
            (0, None, 1),
        ]:
            self.setUp()
            self.end(code=code, number=number)
            error = self.failureResultOf(self.ready, CommandError).value
            self.assertEqual(error.code, expected)
            self.assertIn(f"ended with exit code {code} before", error.lines[0])
        self.assertEqual(self.lost, [])

    def test_killed_before_the_report(self) -> None:
        self.end(code=0, number=signal.SIGKILL)
        self.assertIn("SIGKILL", self.failureResultOf(self.ready, CommandError).value.lines[0])

    def test_dies_while_running(self) -> None:
        self.child.childDataReceived(3, report(URLS))
        self.successResultOf(self.ready)
        self.end(number=signal.SIGSEGV)
        self.assertEqual(self.lost, ["were ended by SIGSEGV"])

    def test_stop(self) -> None:
        self.child.childDataReceived(3, report(URLS))
        self.successResultOf(self.ready)
        stopped = self.ensure(self.child)
        self.assertEqual(self.process.signals, ["TERM"])
        self.assertNoResult(stopped)
        self.end()
        self.successResultOf(stopped)
        self.assertEqual((self.lost, self.reactor.getDelayedCalls()), ([], []))

    def test_stop_does_not_wait_for_ever(self) -> None:
        stopped = self.ensure(self.child)
        self.reactor.advance(4.9)
        self.assertEqual(self.process.signals, ["TERM"])
        self.reactor.advance(0.2)
        self.assertEqual(self.process.signals, ["TERM", "KILL"])
        self.end(number=signal.SIGKILL)
        self.successResultOf(stopped)
        self.failureResultOf(self.ready, CommandError)

    def test_stop_of_what_has_ended_or_never_began(self) -> None:
        self.end(code=1)
        self.failureResultOf(self.ready, CommandError)
        self.successResultOf(self.ensure(self.child))
        self.successResultOf(self.ensure(OwnersChild(self.reactor, self.lost.append)))
        self.assertEqual(self.process.signals, [])

    def test_kill(self) -> None:
        self.child.kill()
        self.assertEqual(self.process.signals, ["KILL"])
        self.end(number=signal.SIGKILL)
        self.child.kill()
        self.failureResultOf(self.ready, CommandError)

    def ensure(self, child: OwnersChild) -> object:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(child.stop())
