"""A real node that is asked for more than it does: every call too many is refused at once, and told when to
come back, at both doors; those that were admitted are answered, and every permit comes back.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.profiles import Profile
from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program, ask, ask_json, ask_rejected, eventually
from tests.support.slowindex import SlowIndex

#: Calls of the facet ``search`` at a time, and of the node.
LIMIT, MAX_CALLS = 4, 6
#: A facet of the user's own, at the same owner.
OWN = """
[facets.own]
kind = "proxy"
upstream = "{url}"
routes = [{{ method = "GET", path = "/{{rest}}", access = "read" }}]
"""


@attrs.frozen
class Answer:
    """What a caller got."""

    status: int
    code: str | None
    #: In seconds, as the door writes it.
    retry_after: float | None


class TcpCaller:
    """A connection to a door."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._peer = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.close = self._peer.close

    def reset(self) -> None:
        """Leave so that the node sees it: who only closes may still read, as far as TCP tells."""
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _more(self) -> bytes:
        data = self._peer.recv(65_536)
        assert data, "the connection was closed"
        return data


class HttpCaller(TcpCaller):
    """A connection over HTTP with one call at a time."""

    def ask(self, path: str = "/app/search?q=x") -> HttpCaller:
        self._peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return self

    def answer(self) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
        }
        while len(body) < int(fields["content-length"]):
            body += self._more()
        retry_after = fields.get("retry-after")
        if retry_after is not None:
            assert re.fullmatch("[1-9][0-9]*", retry_after), retry_after
        return Answer(
            int(head.split(b" ", 2)[1]),
            json.loads(body).get("code"),
            None if retry_after is None else float(retry_after),
        )


class OapCaller(TcpCaller):
    """A connection over OAP/1 with one call at a time."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._peer.sendall(encode_frame(REQ, 0, 0, 1, b'{"ua":null}'))
        self._decoder = FrameDecoder()
        self._id = 1

    def ask(self) -> OapCaller:
        self._id += 1
        head = dump_object({"op": "query", "args": {"q": "x"}})
        self._peer.sendall(encode_frame(REQ | START | END, 0, Profile.SEARCH, self._id, head))
        return self

    def answer(self) -> Answer:
        while True:
            for frame in self._decoder.feed(self._more()):
                flags, code, corr_id, payload = frame[0], frame[1], frame[4], frame[6]
                if corr_id == self._id and flags & END:
                    said = json.loads(payload) if code >= 400 else {}
                    wait_ms = said.get("retry_after_ms")
                    return Answer(code, said.get("code"), None if wait_ms is None else wait_ms / 1000)


class BackpressureCase(SynchronousTestCase):
    """A process whose index answers when the test says so."""

    def setUp(self) -> None:
        self.index = SlowIndex(self)
        self.callers: list[TcpCaller] = []

    def run_node(self, *settings: str, config: str = "") -> Program:
        file = Path(self.mktemp()).absolute()
        file.write_text(config)
        patient = ("owners.index.timeout=60s", "facets.search.timeout=60s", "drain.grace=0s")
        given = (f"owners.index.url={self.index.url}", *patient, *settings)
        flags = [f"--set={each}" for each in given]
        node = Program(self, "run", "--config", str(file), *FREE, *NO_OWNERS[2:], *flags)
        node.until_complaint('"state":"running"')
        self.addresses = dict(re.findall(r'"listener":"(\w+)","address":"([^"]+)"', node.complained))
        return node

    def caller(self, door: str) -> Any:
        caller = (HttpCaller if door == "http" else OapCaller)(self.addresses[door])
        self.addCleanup(caller.close)
        self.callers.append(caller)
        return caller

    def admin(self, path: str) -> str:
        return f"http://{self.addresses['admin']}{path}"

    def counted(self, reason: str) -> float:
        return ask_rejected(self.addresses["admin"], reason)

    def in_use(self) -> dict[str, int]:
        """Return the permits that are out, by facet, those with none left out."""
        gates = ask_json(self.admin("/api/v1/status"))["gates"]
        return {gate["facet"]: gate["in_use"] for gate in gates if gate["in_use"]}

    def fill(self, count: int = LIMIT) -> list[Any]:
        """Return *count* callers of both doors whose calls are under way."""
        callers = [self.caller(("http", "oap")[number % 2]).ask() for number in range(count)]
        eventually(lambda: self.in_use().get("search") == count)
        return callers

    def assert_refused(self, answer: Answer, code: str = "busy") -> None:
        self.assertEqual((answer.status, answer.code), (429, code))
        assert answer.retry_after is not None
        if code == "busy":
            self.assertGreaterEqual(answer.retry_after, 1.0)
        self.assertGreater(answer.retry_after, 0)

    def assert_ends(self, node: Program) -> None:
        for caller in self.callers:
            caller.close()
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        self.assertNotIn("Traceback", node.complained)


class FullGateTests(BackpressureCase):
    """All permits of a facet are out, with an owner that stands still."""

    def test_at_both_doors(self) -> None:
        node = self.run_node(f"facets.search.limit={LIMIT}")
        admitted = self.fill()
        refused = 0
        for door in ("http", "oap"):
            caller = self.caller(door)
            for _ in range(25):
                self.assert_refused(caller.ask().answer())
                refused += 1
        self.assertEqual(self.counted("busy"), refused)
        self.assertEqual(self.in_use(), {"search": LIMIT}, "a refusal takes nothing")
        self.assertEqual(ask(self.admin("/readyz"))[0], 200, "full gates are no sickness")
        self.index.release.set()
        self.assertEqual([caller.answer().status for caller in admitted], [200] * LIMIT)
        eventually(lambda: self.in_use() == {})
        for door in ("http", "oap"):
            self.assertEqual(self.caller(door).ask().answer().status, 200)
        self.assert_ends(node)
        told = [json.loads(line) for line in node.complained.splitlines() if '"refusing' in line]
        self.assertLess(len(told), refused)
        ended = [line for line in told if line["event"] == "refusing_ended"]
        self.assertEqual([(line["reason"], line["facet"]) for line in ended], [("busy", "search")])
        self.assertEqual(ended[0]["count"], refused)

    def test_who_leaves_gives_its_permit_back(self) -> None:
        node = self.run_node(f"facets.search.limit={LIMIT}")
        admitted = self.fill()
        for caller in admitted:
            caller.reset()
        eventually(lambda: self.in_use() == {})
        self.index.release.set()
        self.assertEqual(self.caller("oap").ask().answer().status, 200)
        self.assert_ends(node)

    def test_of_the_node(self) -> None:
        """Its own bound holds for all facets together, and is told apart."""
        node = self.run_node(f"limits.max_calls={MAX_CALLS}", config=OWN.format(url=self.index.url))
        searching = self.fill(MAX_CALLS - 1)
        own = self.caller("http").ask("/app/own/search/x")
        eventually(lambda: self.in_use() == {"search": MAX_CALLS - 1, "own": 1})
        for path in ("/app/own/search/x", "/app/search?q=x"):
            self.assert_refused(self.caller("http").ask(path).answer())
        self.assertEqual((self.counted("busy"), self.counted("busy_node")), (0, 2))
        self.index.release.set()
        self.assertEqual({caller.answer().status for caller in (*searching, own)}, {200})
        eventually(lambda: self.in_use() == {})
        self.assert_ends(node)


class QueueTests(BackpressureCase):
    """Some may wait for their turn."""

    def test_at_both_doors(self) -> None:
        node = self.run_node(f"facets.search.limit={LIMIT}", "facets.search.queue=2")
        admitted = self.fill()
        waiting = [self.caller(door).ask() for door in ("http", "oap")]
        eventually(lambda: self.waiting() == 2)
        for door in ("http", "oap"):
            self.assert_refused(self.caller(door).ask().answer())
        self.index.release.set()
        self.assertEqual({caller.answer().status for caller in (*admitted, *waiting)}, {200})
        eventually(lambda: self.in_use() == {})
        self.assertEqual(self.waiting(), 0)
        self.assert_ends(node)

    def drained(self, deadline: str) -> tuple[Program, list[Any], list[Any]]:
        """Return a node that finishes its calls, those admitted, and those that wait."""
        node = self.run_node(
            f"facets.search.limit={LIMIT}", "facets.search.queue=2", f"drain.deadline={deadline}"
        )
        admitted = self.fill()
        waiting = [self.caller(door).ask() for door in ("http", "oap")]
        eventually(lambda: self.waiting() == 2)
        node.kill(signal.SIGTERM)
        return node, admitted, waiting

    def test_a_drain_lets_them_have_their_turns(self) -> None:
        node, admitted, waiting = self.drained("30s")
        node.until_complaint('"phase":"finishing"')
        self.index.release.set()
        self.assertEqual({caller.answer().status for caller in (*admitted, *waiting)}, {200})
        for caller in self.callers:
            caller.close()
        self.assertEqual(node.end(), 0)

    def test_at_its_deadline_they_are_told_to_ask_elsewhere(self) -> None:
        node, _, waiting = self.drained("100ms")
        for caller in waiting:
            answer = caller.answer()
            self.assertEqual((answer.status, answer.code), (503, "draining"))
            self.assertIsNotNone(answer.retry_after)
        self.assertEqual(node.end(), 0)
        self.assertNotIn("Traceback", node.complained)

    def waiting(self) -> int:
        topology = ask_json(self.admin("/api/v1/status"))["topology"]
        (queue,) = (part for part in topology if part["name"] == "calls.waiting")
        return sum(figure["now"] for figure in queue["figures"])


class RateTests(BackpressureCase):
    """``limits.rps``."""

    def test_at_both_doors(self) -> None:
        self.index.release.set()
        node = self.run_node("limits.rps=2")
        answers = []
        for door in ("http", "oap"):
            caller = self.caller(door)
            # Until two came in one half of a second, which they do on any machine at some time.
            while not answers or answers[-1].status == 200:
                answers.append(caller.ask().answer())
            self.assert_refused(answers[-1], "rate_limited")
            answers.clear()
        self.assertGreaterEqual(self.counted("rate_limited"), 2)
        for _ in range(20):
            self.assertEqual(ask(self.admin("/healthz"))[0], 200, "the admin plane has no such bound")
        self.assert_ends(node)
