"""Standard output that takes what comes as it can."""

import errno
import io
import os
import tempfile
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from micronode.cli.output import LiveWriter
from tests.cli.support import CommandTestCase


class SpyReactor:
    """Knows who wants to write."""

    def __init__(self) -> None:
        self.writers: list[object] = []

    def addWriter(self, writer: object) -> None:
        self.writers.append(writer)

    def removeWriter(self, writer: object) -> None:
        self.writers = [other for other in self.writers if other is not writer]


class SpyProducer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")


class PipeTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = SpyReactor()
        self.read_end, write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        self.stream = os.fdopen(write_end, "wb", buffering=0)
        self.failures = 0
        self.writer = LiveWriter(self.stream, self.reactor, self._failed)
        self.addCleanup(self.stream.close)
        self.addCleanup(self._close)

    def _failed(self) -> None:
        self.failures += 1

    def _close(self) -> None:
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def test_interfaces(self) -> None:
        verifyObject(IConsumer, self.writer)
        verifyObject(IWriteDescriptor, self.writer)
        self.assertEqual(self.writer.fileno(), self.stream.fileno())

    def test_piece_by_piece_and_never_more_than_it_takes(self) -> None:
        producer = SpyProducer()
        self.writer.registerProducer(producer, True)
        data = os.urandom(300_000)
        self.writer.write(data[:100])
        self.writer.write(data[100:])
        self.assertEqual((self.reactor.writers, producer.told), ([self.writer], ["pause"]))
        drained = self.writer.drained()
        got = b""
        while len(got) < len(data):
            self.writer.doWrite()  # would block for ever if it wrote to a full pipe
            got += os.read(self.read_end, 1 << 20)
        self.assertEqual(got, data)
        self.successResultOf(drained)
        self.assertEqual((self.reactor.writers, producer.told), ([], ["pause", "resume"]))
        self.successResultOf(self.writer.drained())

    def test_last_piece_that_comes_when_the_one_before_is_gone(self) -> None:
        test = self

        class Producer(SpyProducer):
            drained: Any = None

            def resumeProducing(self) -> None:
                if self.drained is None:
                    test.writer.write(b"last")
                    self.drained = test.writer.drained()

        producer = Producer()
        self.writer.registerProducer(producer, True)
        self.writer.write(b"first ")
        self.writer.doWrite()
        self.assertNoResult(producer.drained)
        self.writer.doWrite()
        self.successResultOf(producer.drained)
        self.assertEqual(os.read(self.read_end, 100), b"first last")

    def test_pulls_a_pull_producer(self) -> None:
        producer = SpyProducer()
        self.writer.registerProducer(producer, False)
        self.assertEqual(producer.told, ["resume"])
        self.writer.unregisterProducer()
        self.writer.write(b"x")
        self.writer.doWrite()
        self.assertEqual(producer.told, ["resume"])

    def test_reader_that_has_gone(self) -> None:
        for notice in (
            lambda: self.writer.doWrite(),
            lambda: self.writer.connectionLost(Failure(ConnectionLost())),
        ):
            self.setUp()
            self.writer.write(b"x")
            drained = self.writer.drained()
            self._close()
            notice()
            notice()
            self.successResultOf(drained)
            assert self.writer.error is not None
            self.assertEqual((self.writer.error.errno, self.failures), (errno.EPIPE, 1))
            self.writer.write(b"y")
            self.assertEqual(self.reactor.writers, [])

    def test_given_up(self) -> None:
        self.writer.write(b"x")
        drained = self.writer.drained()
        drained.cancel()
        self.failureResultOf(drained, CancelledError)
        self.writer.finish(newline=True)
        self.assertEqual(self.reactor.writers, [])

    def test_last_line_is_ended(self) -> None:
        self.assertTrue(self.writer.is_empty)
        self.writer.finish(newline=True)
        self.writer.write(b"{}")
        self.assertFalse(self.writer.is_empty)
        self.writer.doWrite()
        self.writer.finish(newline=True)
        self.assertEqual(os.read(self.read_end, 100), b"{}\n")


class FileTests(CommandTestCase):
    """What is never slow is simply written, and flushed."""

    def test_file(self) -> None:
        reactor: Any = SpyReactor()
        with tempfile.TemporaryFile() as file:
            writer = LiveWriter(file, reactor, lambda: None)
            writer.write(b"one")
            self.assertEqual(os.pread(file.fileno(), 10, 0), b"one")
            writer.write(b"")
            writer.finish(newline=False)
        self.assertEqual(reactor.writers, [])

    def test_no_descriptor(self) -> None:
        stream = io.BytesIO()
        LiveWriter(stream, SpyReactor(), lambda: None).write(b"one")
        self.assertEqual(stream.getvalue(), b"one")

    def test_full_disk(self) -> None:
        class Full(io.BytesIO):
            def write(self, data: object) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        failures: list[bool] = []
        writer = LiveWriter(Full(), SpyReactor(), lambda: failures.append(True))
        writer.write(b"one")
        writer.write(b"two")
        assert writer.error is not None
        self.assertEqual((writer.error.errno, failures), (errno.ENOSPC, [True]))
