"""Names are looked up in threads that the end of the process does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.cli import lookups

PATIENCE_S = 30.0


@implementer(IReactorPluggableNameResolver)
class NamingReactor(Clock):
    """Takes what threads hand to it, and from which kind of thread that came."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver: Any = None
        self.daemons: list[bool] = []
        self.handed: list[Callable[[], object]] = []
        self.came = threading.Event()

    def installNameResolver(self, resolver: Any) -> None:
        self.nameResolver = resolver

    def callFromThread(self, act: Callable[..., object], *args: Any) -> None:
        self.daemons.append(threading.current_thread().daemon)
        self.handed.append(lambda: act(*args))
        self.came.set()


class SpyReceiver:
    def __init__(self) -> None:
        self.found: list[Any] = []
        self.over = False

    def resolutionBegan(self, resolution: Any) -> None:
        """It has."""

    def addressResolved(self, address: Any) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.over = True


class LookupsTests(SynchronousTestCase):
    def test_in_threads_that_nobody_waits_for(self) -> None:
        reactor, receiver = NamingReactor(), SpyReceiver()
        lookups.install(reactor)
        verifyObject(IHostnameResolver, reactor.nameResolver)
        reactor.nameResolver.resolveHostName(receiver, "127.0.0.1", 80, [IPv4Address])
        self.assertTrue(reactor.came.wait(PATIENCE_S))
        for act in reactor.handed:
            act()
        self.assertEqual([each.host for each in receiver.found], ["127.0.0.1"])
        self.assertTrue(receiver.over)
        self.assertEqual(set(reactor.daemons), {True})

    def test_a_reactor_without_names_is_let_be(self) -> None:
        reactor = Clock()
        lookups.install(reactor)
        self.assertEqual(reactor.getDelayedCalls(), [])
