"""``micronode call --stream`` and ``--subscribe`` as processes: pipes, terminals' Ctrl-C, slow readers."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import END, EVENT, REQ, RESP, START, Code, Control, encode_frame
from micronode.oap.wire.heads import dump_object
from tests.cli.processes import PATIENCE_S, Program

reactor: Any = installed_reactor
HELLO = {"flags_supported": 255, "max_frame": 1_048_576, "max_chunk": 65_536, "ack_window": 131_072}


def message(number: int, size: int = 3) -> bytes:
    """Return one message."""
    fields = {"msg_id": f"m{number}", "ts": 1, "attempt": 1, "attrs": {}, "payload_b64": "QUJD" * size}
    return json.dumps(fields).encode()


class EchoingNode(Protocol):
    """Answers a request with its own body, as it comes and as windows let it; takes subscriptions.

    ``echo`` is answered chunk by chunk; a ``subscribe`` gets two messages and stays open.
    """

    def __init__(self) -> None:
        self.decoder = FrameDecoder()
        self.codes: list[int] = []
        self.acked: list[str] = []
        self.room = 131_072
        self.came = self.sent = 0
        self.waits: list[tuple[int, int, bytes]] = []
        self.most = 0
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        for flags, code, app, _, corr_id, _, payload in self.decoder.feed(data):
            assert payload is not None
            if app == 0 and flags & REQ:
                self.reply(RESP, 200, 0, corr_id, dump_object(HELLO))
            elif app == 0 and code == Control.CREDIT:
                self.room = int.from_bytes(payload, "big") + 131_072
                self.echo()
            elif flags & START:
                self.started(flags, app, corr_id, json.loads(payload))
            elif code == Code.CANCEL:
                self.codes.append(code)
                self.reply(RESP | END, code, app, corr_id, b"")
            else:
                self.came += len(payload)
                self.waits.append((app, corr_id, payload))
                self.ended = self.ended or flags & END != 0
                self.echo()

    def started(self, flags: int, app: int, corr_id: int, head: Any) -> None:
        if head["op"] == "ack":
            self.acked.append(head["args"]["msg_id"])
            self.reply(RESP | START | END, 200, app, corr_id, b'{"status":204}')
            return
        self.reply(RESP | START, 200, app, corr_id, b'{"status":200}')
        if head["op"] == "subscribe":
            for number in (1, 2):
                self.reply(EVENT, 206, app, corr_id, message(number))

    def echo(self) -> None:
        """Give back what fits the window, and credit it."""
        self.most = max(self.most, self.came - self.sent)
        app = corr_id = 0
        while self.waits and self.sent + len(self.waits[0][2]) <= self.room:
            app, corr_id, payload = self.waits.pop(0)
            self.sent += len(payload)
            self.reply(RESP, 206, app, corr_id, payload)
        if corr_id and self.ended and not self.waits:
            self.reply(RESP | END, 200, app, corr_id, b"")
        elif corr_id:
            for each in (corr_id, 0):
                self.reply(EVENT, Control.CREDIT, 0, each, self.sent.to_bytes(8, "big"))

    def reply(self, flags: int, code: int, app: int, corr_id: int, payload: bytes) -> None:
        transport: Any = self.transport
        transport.write(encode_frame(flags, code, app, corr_id, payload))


class LiveCallTests(TestCase):
    timeout = 2 * PATIENCE_S

    def setUp(self) -> None:
        self.nodes: list[EchoingNode] = []

        def build(_: object = None) -> EchoingNode:
            self.nodes.append(EchoingNode())
            return self.nodes[-1]

        factory: Any = Factory()
        factory.buildProtocol = build
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.target = f"oap://127.0.0.1:{port.getHost().port}"

    def program(self, *argv: str, **streams: Any) -> Program:
        return Program(self, "call", self.target, *argv, **streams)  # type: ignore[arg-type]

    def subscriber(self, *argv: str) -> Program:
        return self.program("feed", "subscribe", "--subscribe", "--args", '{"topic":"t"}', *argv)

    @staticmethod
    def apart(act: Any, *args: Any) -> Deferred[Any]:
        """Wait for a process without holding up the node, which runs here."""
        return deferToThread(act, *args)

    async def test_interrupted_subscription(self) -> None:
        call = self.subscriber()
        await self.apart(call.until, "m2.*\n")
        call.kill(signal.SIGINT)
        self.assertEqual(await self.apart(call.end), 0)
        self.assertEqual(call.printed.splitlines(), [_line(1), _line(2)])
        self.assertEqual((call.complained, self.nodes[0].codes, self.nodes[0].acked), ("", [499], []))

    async def test_counted_and_acked(self) -> None:
        call = self.subscriber("--ack", "--count", "2")
        self.assertEqual(await self.apart(call.end), 0)
        self.assertEqual((self.nodes[0].acked, call.complained), (["m1", "m2"], ""))
        self.assertEqual(len(call.printed.splitlines()), 2)

    async def test_both_ways_at_once(self) -> None:
        """Each line comes back before the next is typed; then more than any buffer holds goes round."""
        read, write = os.pipe()
        with os.fdopen(write, "wb", buffering=0) as keyboard:
            call = self.program("custom", "echo", "--stream", "--body", "-", stdin=read)
            os.close(read)
            for line in (b"one\n", b"two\n"):
                keyboard.write(line)
                await self.apart(call.until, line.decode())
            data = os.urandom(1 << 20)
            writing = self.apart(keyboard.write, data)
            ending = self.apart(self.collect, call, 8 + len(data))
            await writing
            await ending
        self.assertEqual(await self.apart(call.end), 0)
        self.assertEqual(call.printed, b"one\ntwo\n" + data)
        self.assertEqual(call.complained, "")

    @staticmethod
    def collect(call: Program, size: int) -> None:
        """Read *size* bytes of output."""
        stream = call.process.stdout
        assert stream is not None
        while len(call.printed) < size:
            data = os.read(stream.fileno(), 1 << 16)
            assert data, (len(call.printed), call.process.poll(), call.complained)
            call.printed += data

    async def test_slow_reader_of_the_output_holds_up_the_sender(self) -> None:
        read, write = os.pipe()
        keyboard = os.fdopen(write, "wb", buffering=0)
        call = self.program("custom", "echo", "--stream", "--body", "-", stdin=read)
        os.close(read)
        data = os.urandom(2 << 20)
        writing = self.apart(keyboard.write, data)
        # Nobody reads yet: it all comes to rest, with a window's worth at the node.
        while not self.nodes or self.nodes[0].most < 100_000:
            await self.apart(os.stat, "/")
        self.assertFalse(writing.called)
        ending = self.apart(self.collect, call, len(data))
        await writing
        keyboard.close()
        await ending
        self.assertEqual(await self.apart(call.end), 0)
        self.assertEqual(call.printed, data)
        self.assertLessEqual(self.nodes[0].most, 131_072)


def _line(number: int) -> bytes:
    """Return what is printed of a message: the JSON without spaces."""
    return json.dumps(json.loads(message(number)), separators=(",", ":")).encode()
