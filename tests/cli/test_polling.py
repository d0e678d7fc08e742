"""Tests for :mod:`micronode.cli.polling`: in a process of its own, since a process has one reactor."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.cli import polling

_SCRIPT = """
import json, socket, sys
from micronode.cli import polling
polling.install()
from twisted.internet import reactor
polling.install()
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogBeginner

told, logged = [], []
globalLogBeginner.beginLoggingTo(
    [lambda event: logged.append(event["failure"].type.__name__) if "failure" in event else None],
    redirectStandardIO=False,
)

class Broken(Protocol):
    def dataReceived(self, data):
        told.append(data.decode())
        raise ZeroDivisionError

    def connectionLost(self, reason):
        told.append(reason.type.__name__)
        raise KeyError

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

class Asking(Protocol):
    def connectionMade(self):
        self.transport.write(b"sound")

    def dataReceived(self, data):
        told.append(data.decode())
        reactor.stop()

def pair(server, client):
    one, other = socket.socketpair()
    for sock, protocol in ((one, server), (other, client)):
        sock.setblocking(False)
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda address, protocol=protocol: protocol
        reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, factory)
        sock.close()

class Says(Protocol):
    def connectionMade(self):
        self.transport.write(b"broken")

    def connectionLost(self, reason):
        reactor.callLater(0, pair, Echo(), Asking())

reactor.callLater(0, pair, Broken(), Says())
reactor.callLater(20, reactor.stop)
reactor.run()
print(json.dumps([type(reactor).__name__, told, logged]))
"""


_SET_BACK = """
import signal, sys, time
by_the_machine, back_s = time.time, 0.0
time.time = lambda: by_the_machine() - back_s
signal.alarm(20)
from micronode.cli import polling
if sys.argv[1] == "ours":
    polling.install()
from twisted.internet import reactor
if sys.argv[1] == "given":
    polling.steady(reactor)

def set_back():
    global back_s
    reactor.callLater(0, reactor.stop)
    back_s = 3600.0

reactor.callLater(0, set_back)
reactor.run()
"""


class PollingTests(SynchronousTestCase):
    def test_a_defect_of_one_connection_is_logged_and_the_others_go_on(self) -> None:
        """Be it where bytes come, or where the connection is lost for that."""
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        name, told, logged = json.loads(done.stdout)
        self.assertEqual(told, ["broken", "ZeroDivisionError", "sound"])
        self.assertEqual(logged, ["ZeroDivisionError", "KeyError"])
        if sys.platform == "linux":
            self.assertEqual(name, "PollingReactor")

    def test_a_clock_that_is_set_back(self) -> None:
        """What was put off to the next turn is done then, by our reactor and by one that others chose."""
        for whose in ("ours", "given"):
            done = subprocess.run(
                [sys.executable, "-c", _SET_BACK, whose],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                timeout=60,
            )
            self.assertEqual((whose, done.returncode, done.stderr), (whose, 0, b""))

    def test_a_clock_by_which_something_is_timed(self) -> None:
        """It stays as it is: what is timed would come at another time."""
        reactor = Clock()
        reactor.callLater(1.0, lambda: None)
        polling.steady(reactor)
        self.assertEqual(reactor.seconds(), 0.0)
