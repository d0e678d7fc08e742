"""What the service manager is told, when, and what happens when it does not listen."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.bus import EventBus, HealthChanged, ReloadEnded, ReloadStarted, StateChanged
from micronode.cli.notify import Notifier, take_notifier
from micronode.lifecycle import State

FULL = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
GONE = OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


class SpySocket:
    """Keeps what is sent; refuses with the errors of *errors*, one a datagram, as long as there are some."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sent: list[str] = []
        self.addresses: set[str] = set()
        self.errors: list[OSError] = []

    def sendto(self, data: bytes, address: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(data.decode())
        self.addresses.add(address)

    def take(self) -> list[str]:
        """Return what was sent since the last time, after a turn of the reactor."""
        self._clock.advance(0)
        taken, self.sent = self.sent, []
        return taken


class StubNode:
    """A node as far as a notifier looks."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.state = State.STARTING
        self.calls = 0
        self.degraded: list[str] = []
        self.config = SimpleNamespace(drain=SimpleNamespace(grace=10.0, deadline=5.0))
        self.probes = SimpleNamespace(readyz=lambda: (200, {"degraded": self.degraded}, None))

    def enter(self, state: State) -> None:
        previous, self.state = self.state, state
        self.bus.publish(StateChanged(state=state.value, previous=previous.value))


class NotifierTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.socket = SpySocket(self.clock)
        self.node: Any = StubNode()

    def notifier(self, **settings: Any) -> Notifier:
        notifier = Notifier("/run/notify", monotonic=lambda: 1.5, make_socket=lambda: self.socket, **settings)
        notifier.begin(self.clock)
        notifier.follow(self.node)
        return notifier

    def running(self, **settings: Any) -> None:
        self.notifier(**settings)
        self.node.enter(State.RUNNING)
        self.socket.take()


class LifeTests(NotifierTestCase):
    def test_ready_when_it_runs_and_not_before(self) -> None:
        self.notifier()
        self.assertEqual(self.socket.take(), [])
        self.node.enter(State.RUNNING)
        self.assertEqual(self.socket.take(), ["READY=1\nSTATUS=running; calls in flight: 0"])
        self.assertEqual(self.socket.addresses, {"/run/notify"})

    def test_ready_is_told_by_a_reactor_that_turns(self) -> None:
        """Below twistd the node runs before its reactor does, and until then a signal is deadly."""
        self.notifier()
        self.node.enter(State.RUNNING)
        self.assertEqual(self.socket.sent, [])
        self.clock.advance(0)
        self.assertEqual(len(self.socket.sent), 1)

    def test_the_main_process_of_a_daemon(self) -> None:
        """twistd forks between making the service and starting it."""
        self.notifier()
        self.patch(os, "getpid", lambda: 4711)
        self.node.enter(State.RUNNING)
        self.assertIn("MAINPID=4711", self.socket.take()[0].splitlines())

    def test_stopping_takes_the_time_it_is_configured_to(self) -> None:
        self.running()
        self.node.enter(State.DRAINING)
        self.assertEqual(
            self.socket.take(),
            ["STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000\nSTATUS=draining; calls in flight: 0"],
        )

    def test_a_reload(self) -> None:
        self.running()
        self.node.bus.publish(ReloadStarted())
        self.assertEqual(
            self.socket.take(),
            ["RELOADING=1\nMONOTONIC_USEC=1500000\nSTATUS=reloading; calls in flight: 0"],
        )
        self.node.calls = 3
        self.clock.advance(1.0)
        self.assertEqual(self.socket.take(), ["STATUS=reloading; calls in flight: 3"])
        self.node.calls = 0
        self.node.bus.publish(ReloadEnded(outcome="refused", reason="a typo"))
        self.assertEqual(self.socket.take(), ["READY=1\nSTATUS=running; calls in flight: 0"])

    def test_a_stop_during_a_reload_is_not_taken_back(self) -> None:
        self.running()
        self.node.bus.publish(ReloadStarted())
        self.node.enter(State.DRAINING)
        self.socket.take()
        self.node.bus.publish(ReloadEnded(outcome="draining"))
        self.assertFalse(any("READY" in said for said in self.socket.take()))

    def test_nobody_is_told_after_the_end(self) -> None:
        self.running()
        self.node.enter(State.DRAINING)
        self.socket.take()
        self.node.enter(State.STOPPED)
        self.node.bus.close()
        self.assertEqual(self.socket.take(), ["STATUS=stopped; calls in flight: 0"])
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.socket.take(), [])


class StatusTests(NotifierTestCase):
    def test_current_at_most_once_a_second(self) -> None:
        self.running()
        for self.node.calls in range(80):
            self.clock.advance(0.125)
        self.assertEqual(len(self.socket.sent), 10)
        self.assertEqual(self.socket.sent[-1], "STATUS=running; calls in flight: 79")

    def test_silent_while_nothing_changes(self) -> None:
        self.running()
        self.clock.pump([1.0] * 60)
        self.assertEqual(self.socket.take(), [])

    def test_degraded_owners_at_once(self) -> None:
        self.running()
        self.node.degraded = ["index", "storage"]
        self.node.bus.publish(HealthChanged(name="storage", state="down", previous="ok"))
        self.assertEqual(self.socket.take(), ["STATUS=running; calls in flight: 0; degraded: index, storage"])


class WatchdogTests(NotifierTestCase):
    def pings(self, watchdog_s: float, seconds: float) -> int:
        self.running(watchdog_s=watchdog_s)
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)
        return self.socket.take().count("WATCHDOG=1")

    def test_three_times_within_the_interval(self) -> None:
        self.assertIn(self.pings(0.9, 9.0), (29, 30, 31))

    def test_not_unless_wanted(self) -> None:
        self.assertEqual(self.pings(0.0, 10.0), 0)

    def test_not_all_that_the_reactor_does(self) -> None:
        """A manager may want more signs of life than can be given."""
        self.running(watchdog_s=0.000001)
        self.clock.pump([0.001] * 100)
        self.assertIn(self.socket.take().count("WATCHDOG=1"), (9, 10, 11))

    def test_a_blocked_reactor_is_silent_and_does_not_make_up_for_it(self) -> None:
        self.running(watchdog_s=3.0)
        self.clock.advance(30.0)
        self.assertEqual(self.socket.take(), ["WATCHDOG=1"])

    def test_while_it_stops(self) -> None:
        self.running(watchdog_s=3.0)
        self.node.enter(State.DRAINING)
        self.socket.take()
        self.node.enter(State.STOPPED)
        self.node.bus.close()
        self.socket.take()
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.socket.take(), ["WATCHDOG=1"] * 5)


class TroubleTests(NotifierTestCase):
    def logged(self) -> list[Any]:
        return [event for event in self.events if event["log_format"] == "notify_failed"]

    def setUp(self) -> None:
        super().setUp()
        from twisted.logger import globalLogPublisher

        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_what_must_be_known_is_sent_again_in_order(self) -> None:
        self.socket.errors = [FULL, FULL]
        self.notifier()
        self.node.enter(State.RUNNING)
        self.node.enter(State.DRAINING)
        self.assertEqual(self.socket.take(), [])
        self.clock.pump([0.1] * 3)
        self.assertEqual([said.partition("\n")[0] for said in self.socket.take()], ["READY=1", "STOPPING=1"])
        self.assertEqual(len(self.logged()), 1)
        self.clock.pump([0.1] * 3)
        self.assertEqual(self.socket.take(), [])

    def test_a_ping_is_not_sent_again(self) -> None:
        self.running(watchdog_s=3.0)
        self.socket.errors = [FULL]
        self.clock.pump([0.5] * 3)
        self.assertEqual(self.socket.take(), [])

    def test_a_status_line_that_had_no_room(self) -> None:
        """It is said later, though it has not changed since."""
        self.running()
        self.node.degraded = ["index"]
        self.socket.errors = [FULL, FULL]
        self.clock.pump([1.0, 1.0])
        self.assertEqual(self.socket.take(), [])
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.socket.take(), ["STATUS=running; calls in flight: 0; degraded: index"])

    def test_no_status_line_before_an_older_one(self) -> None:
        self.socket.errors = [FULL]
        self.notifier()
        self.node.enter(State.RUNNING)
        self.node.degraded = ["index"]
        self.node.bus.publish(HealthChanged(name="index", state="down", previous="ok"))
        self.clock.pump([0.5] * 4)
        said = [line for each in self.socket.take() for line in each.splitlines() if "STATUS" in line]
        self.assertEqual(
            said, [f"STATUS=running; calls in flight: 0{end}" for end in ("", "; degraded: index")]
        )

    def test_a_manager_that_is_gone(self) -> None:
        self.socket.errors = [GONE] * 3
        self.notifier()
        self.node.enter(State.RUNNING)
        self.node.enter(State.DRAINING)
        self.clock.pump([0.1] * 5)
        self.assertEqual(self.socket.take(), [])
        self.assertEqual([event["reason"] for event in self.logged()], ["Connection refused"])

    def test_little_is_kept_for_a_manager_that_never_listens(self) -> None:
        self.socket.errors = [FULL] * 1000
        notifier = self.notifier()
        for number in range(100):
            notifier.tell(f"X={number}")
        self.socket.errors.clear()
        self.clock.advance(0.1)
        self.assertEqual(self.socket.take(), [f"X={number}" for number in range(84, 100)])

    def test_a_descriptor_that_cannot_be_had(self) -> None:
        def refuse() -> Any:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        notifier = Notifier("/run/notify", make_socket=refuse)
        notifier.begin(self.clock)
        notifier.follow(self.node)
        self.node.enter(State.RUNNING)
        self.clock.advance(0)
        self.assertEqual(self.logged()[0]["reason"], "Too many open files")


class TakeTests(SynchronousTestCase):
    def take(self, **environ: str) -> Notifier:
        environ["PATH"] = "/bin"
        notifier = take_notifier(environ)
        self.assertEqual(environ, {"PATH": "/bin"})
        return notifier

    def watchdog(self, **environ: str) -> float:
        return self.take(NOTIFY_SOCKET="/run/notify", **environ)._watchdog_s

    def test_no_manager(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "1000000"}):
            self.assertFalse(self.take(**environ).active)

    def test_nothing_is_done_without_one(self) -> None:
        clock, node = Clock(), StubNode()
        notifier = self.take()
        notifier.begin(clock)
        notifier.follow(node)  # type: ignore[arg-type]
        notifier.tell("READY=1")
        node.enter(State.RUNNING)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_path_and_abstract_name(self) -> None:
        for name, address in (("/run/notify", "/run/notify"), ("@notify/1", "\0notify/1")):
            notifier = self.take(NOTIFY_SOCKET=name)
            self.assertTrue(notifier.active)
            self.assertEqual(notifier._address, address)

    def test_what_is_no_socket(self) -> None:
        for name in ("notify", "/", "@", "vsock:2:1", "/" + "x" * 107, "/\u20ac" + "x" * 104):
            self.assertFalse(self.take(NOTIFY_SOCKET=name).active, name)

    def test_watchdog(self) -> None:
        mine = str(os.getpid())
        self.assertEqual(self.watchdog(WATCHDOG_USEC="2500000"), 2.5)
        self.assertEqual(self.watchdog(WATCHDOG_USEC="2500000", WATCHDOG_PID=mine), 2.5)

    def test_no_watchdog(self) -> None:
        self.assertEqual(self.watchdog(), 0.0)
        self.assertEqual(self.watchdog(WATCHDOG_USEC="2500000", WATCHDOG_PID="1"), 0.0)
        for usec in ("0", "-1", "1.5", "x", "\u0661", "9" * 19):
            self.assertEqual(self.watchdog(WATCHDOG_USEC=usec), 0.0, usec)
