"""Tests for :mod:`micronode.devowners.pipes`."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.devowners.pipes import Inlet, Outlet


class EagerSource:
    """Writes pieces for as long as it is not paused, as an object's sender does."""

    def __init__(self, inlet: Inlet, pieces: int) -> None:
        self.inlet = inlet
        self.left = pieces
        self.is_paused = True
        self.depth = self.deepest = 0
        inlet.source = self

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False
        self.depth += 1
        self.deepest = max(self.depth, self.deepest)
        while not self.is_paused:
            if not self.left:
                self.inlet.end()
                break
            self.left -= 1
            self.inlet.put(b"x")
        self.depth -= 1


class InletTests(SynchronousTestCase):
    def test_piece_by_piece(self) -> None:
        inlet = Inlet()
        waiting = inlet.read()
        self.assertNoResult(waiting)
        for piece in (b"a", b"", b"b"):
            inlet.put(piece)
        inlet.end()
        self.assertEqual(self.successResultOf(waiting), b"a")
        self.assertEqual([self.successResultOf(inlet.read()) for _ in range(3)], [b"b", b"", b""])

    def test_an_error_comes_after_what_came_before(self) -> None:
        inlet = Inlet()
        inlet.put(b"a")
        inlet.end(KeyError())
        self.assertEqual(self.successResultOf(inlet.read()), b"a")
        self.failureResultOf(inlet.read(), KeyError)

    def test_an_error_reaches_who_waits(self) -> None:
        inlet = Inlet()
        waiting = inlet.read()
        inlet.end(KeyError())
        self.failureResultOf(waiting, KeyError)

    def test_a_reader_gives_up(self) -> None:
        inlet = Inlet()
        waiting = inlet.read()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        inlet.put(b"a")
        self.assertEqual(self.successResultOf(inlet.read()), b"a")

    def test_without_a_reader_the_source_is_paused(self) -> None:
        inlet = Inlet()
        source = EagerSource(inlet, 10)
        source.resumeProducing()
        self.assertEqual((source.left, source.is_paused), (9, True))
        self.successResultOf(inlet.read())
        self.assertEqual(source.left, 9)
        self.successResultOf(inlet.read())
        self.assertEqual((source.left, source.is_paused), (8, True))

    def test_a_source_never_runs_inside_itself(self) -> None:
        inlet = Inlet()
        source = EagerSource(inlet, 5000)

        async def read_all() -> int:
            size = 0
            while data := await inlet.read():
                size += len(data)
            return size

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(read_all())), 5000)
        self.assertEqual(source.deepest, 1)


class OutletTests(SynchronousTestCase):
    def test_interface(self) -> None:
        verifyObject(IPushProducer, Outlet())

    def test_room(self) -> None:
        outlet = Outlet()
        self.successResultOf(outlet.room())
        outlet.pauseProducing()
        waiting = outlet.room()
        self.assertNoResult(waiting)
        outlet.resumeProducing()
        self.successResultOf(waiting)
        outlet.resumeProducing()

    def test_giving_up(self) -> None:
        outlet = Outlet()
        outlet.pauseProducing()
        waiting = outlet.room()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        outlet.stopProducing()
        outlet.resumeProducing()
