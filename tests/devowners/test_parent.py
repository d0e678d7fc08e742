"""Tests for :mod:`micronode.devowners.parent`."""

import os

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.devowners.parent import ParentWatch


class ParentWatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        fd, self.parent = os.pipe()
        self.ends: list[bool] = []
        self.watch = ParentWatch(self.reactor, fd, lambda: self.ends.append(True))

    def tearDown(self) -> None:
        for fd in (self.parent, self.watch.fileno()):
            if fd >= 0:
                os.close(fd)

    def close_parent(self) -> None:
        os.close(self.parent)
        self.parent = -1

    def test_it_is_watched(self) -> None:
        verifyObject(IReadDescriptor, self.watch)
        self.assertEqual(self.reactor.getReaders(), [self.watch])

    def test_a_living_parent(self) -> None:
        self.watch.doRead()
        os.write(self.parent, b"anything")
        self.watch.doRead()
        self.assertEqual(self.ends, [])

    def test_the_end_is_told_once(self) -> None:
        self.close_parent()
        self.watch.doRead()
        self.watch.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.ends, [True])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.watch.fileno(), -1)

    def test_a_hang_up_counts(self) -> None:
        self.watch.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.ends, [True])
