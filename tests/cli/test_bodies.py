"""Bodies going out of files and pipes, and into standard output."""

import io
import os
import sys

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IReadDescriptor
from twisted.python.failure import Failure
from twisted.web.client import FileBodyProducer
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.cli.bodies import WHOLE_BYTES, BodyWriter, PipeBody, open_body
from micronode.cli.exits import CommandError
from tests.cli.support import CommandTestCase


class SpyReactor:
    """Knows who wants to read."""

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers = [other for other in self.readers if other is not reader]


@implementer(IConsumer)
class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def registerProducer(self, producer: object, streaming: bool) -> None:
        raise AssertionError("a body producer does not register itself")

    def unregisterProducer(self) -> None:
        raise AssertionError("nothing was registered")


class PipeBodyTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = SpyReactor()
        read, self.write_end = os.pipe()
        self.file = os.fdopen(read, "rb", buffering=0)
        self.body = PipeBody(self.file, self.reactor)
        self.sink = Sink()
        self.done = self.body.startProducing(self.sink)
        self.addCleanup(self.file.close)

    def test_interfaces(self) -> None:
        verifyObject(IBodyProducer, self.body)
        verifyObject(IReadDescriptor, self.body)
        self.assertIs(self.body.length, UNKNOWN_LENGTH)

    def test_passes_on_what_is_there_until_the_end(self) -> None:
        self.assertEqual(self.reactor.readers, [self.body])
        os.write(self.write_end, b"abc")
        self.body.doRead()
        self.assertEqual(self.sink.data, b"abc")
        self.assertNoResult(self.done)
        os.close(self.write_end)
        self.body.doRead()
        self.successResultOf(self.done)
        self.assertEqual((self.reactor.readers, self.file.closed), ([], True))

    def test_pause_and_resume(self) -> None:
        self.body.pauseProducing()
        self.assertEqual(self.reactor.readers, [])
        self.body.resumeProducing()
        self.assertEqual(self.reactor.readers, [self.body])
        os.close(self.write_end)

    def test_stop_leaves_the_deferred_alone(self) -> None:
        self.body.stopProducing()
        self.body.resumeProducing()
        self.body.pauseProducing()
        self.body.doRead()
        self.body.connectionLost(Failure(ConnectionLost()))
        self.assertNoResult(self.done)
        self.assertEqual((self.reactor.readers, self.file.closed), ([], True))
        os.close(self.write_end)

    def test_hung_up_pipe_is_its_end(self) -> None:
        self.body.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(self.done)
        os.close(self.write_end)

    def test_lost(self) -> None:
        self.body.connectionLost(Failure(ConnectionLost()))
        self.failureResultOf(self.done, ConnectionLost)
        os.close(self.write_end)

    def test_unreadable(self) -> None:
        directory = os.open(".", os.O_RDONLY)
        file = os.fdopen(os.dup(self.write_end), "rb", buffering=0)
        os.dup2(directory, file.fileno())
        done = PipeBody(file, self.reactor).startProducing(self.sink)
        self.reactor.readers[-1].doRead()  # type: ignore[attr-defined]
        self.failureResultOf(done, IsADirectoryError)
        os.close(directory)
        os.close(self.write_end)


class OpenBodyTests(CommandTestCase):
    def test_a_small_file_is_read(self) -> None:
        for size in (0, 5, WHOLE_BYTES):
            self.assertEqual(open_body(self.file(size), SpyReactor()), bytes(size))

    def file(self, size: int) -> str:
        name = self.mktemp()
        with open(name, "wb") as file:
            file.write(bytes(size))
        return name

    def test_a_large_file_has_a_length(self) -> None:
        body = open_body(self.file(WHOLE_BYTES + 1), SpyReactor())
        assert isinstance(body, FileBodyProducer)
        self.assertEqual(body.length, WHOLE_BYTES + 1)
        body.startProducing(Sink())
        body.stopProducing()

    def test_a_named_pipe_is_left_to_the_reactor(self) -> None:
        name = self.mktemp()
        os.mkfifo(name)
        keep = os.open(name, os.O_RDWR)
        self.addCleanup(os.close, keep)
        body = open_body(name, SpyReactor())
        assert isinstance(body, PipeBody)
        body.startProducing(Sink())
        body.stopProducing()

    def test_standard_input(self) -> None:
        class Stdin:
            buffer = io.BytesIO(b"abc")

        self.patch(sys, "stdin", Stdin)
        self.assertEqual(open_body("-", SpyReactor()), b"abc")

    def test_cannot_be_read(self) -> None:
        for name, reason in (("/nowhere/x", "no such file"), (".", "is a directory")):
            error = self.assertRaises(CommandError, open_body, name, SpyReactor())
            self.assertEqual(error.code, 64)
            self.assertIn(reason, error.lines[0])


class Full(io.BytesIO):
    """A disk without room, or a pipe without reader."""

    error: OSError = BrokenPipeError(32, "Broken pipe")

    def write(self, data: object) -> int:
        raise self.error


class BodyWriterTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.failures: list[bool] = []

    def writer(self, stream: io.BytesIO) -> BodyWriter:
        return BodyWriter(stream, lambda: self.failures.append(True))

    def test_bytes_as_they_come(self) -> None:
        stream = io.BytesIO()
        writer = self.writer(stream)
        verifyObject(IConsumer, writer)
        for data in (b"\x00\xff", b"", b"x"):
            writer.write(data)
        writer.finish(newline=False)
        self.assertEqual(stream.getvalue(), b"\x00\xffx")

    def test_last_line_is_ended_once(self) -> None:
        for body, written in ((b"{}", b"{}\n"), (b"a\n", b"a\n"), (b"", b"")):
            stream = io.BytesIO()
            writer = self.writer(stream)
            writer.write(body)
            writer.finish(newline=True)
            self.assertEqual(stream.getvalue(), written)

    def test_fails_once(self) -> None:
        writer = self.writer(Full())
        writer.write(b"a")
        writer.write(b"b")
        writer.finish(newline=True)
        self.assertEqual(self.failures, [True])
        self.assertIsInstance(writer.error, BrokenPipeError)

    def test_pulls_a_pull_producer(self) -> None:
        pulled = []

        class Producer:
            def resumeProducing(self) -> None:
                pulled.append(True)

        self.writer(io.BytesIO()).registerProducer(Producer(), False)
        self.writer(io.BytesIO()).registerProducer(Producer(), True)
        self.assertEqual(pulled, [True])
