"""HTTP callers that break the rules or bend them, before a real node and real owners.

Each gets its answer, or its end, and nothing is left of it: no permit, no descriptor, no traceback. Others
are served meanwhile.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Callable
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, ask, ask_json, eventually
from tests.support.frontends import Answer, read_answers
from tests.support.live import LiveNode

#: What the node may hold more while it is plagued: a read and a half for each of a few connections, its
#: answers, and what Python keeps of the objects that it made.
_MOST_BYTES: Final = 16 << 20
_SEARCH: Final = "/app/search?q=hello"


def request(target: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


class HttpCaller:
    """One connection to a node, and nothing but bytes."""

    def __init__(self, case: SynchronousTestCase, node: LiveNode) -> None:
        host, _, port = node.http.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        case.addCleanup(self.socket.close)

    def say(self, *pieces: bytes) -> HttpCaller:
        """Send each piece by itself, as far as the node takes them."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except ConnectionError:
            pass
        return self

    def until(self, size: int) -> bytes:
        """Return so many bytes, or what there is before the end."""
        data = b""
        try:
            while len(data) < size and (piece := self.socket.recv(min(65_536, size - len(data)))):
                data += piece
        except ConnectionError:
            pass
        return data

    def rest(self) -> bytes:
        """Return all bytes up to the end."""
        data = self.until(1 << 30)
        self.socket.close()
        return data

    def reset(self) -> None:
        """Leave as a machine does that has lost the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class HostileCallersTests(SynchronousTestCase):
    def test_all(self) -> None:
        self.node = LiveNode(self, "tcp", "timeouts.read=1s", "timeouts.body=1s", "http.idle=1s")
        steps = (
            self.heads,
            self.endless_heads,
            self.fields_byte_by_byte,
            self.pipelines,
            self.pipelines_that_nobody_reads,
            self.expectations,
            self.early_answers,
            self.bodies_that_nobody_asked_for,
            self.half_closes,
            self.requests_behind_a_close,
            self.slow_readers,
            self.resets_amid_answers,
            self.resets_amid_requests,
        )
        self.node.try_all(*(self.with_permits(step) for step in steps))

    def with_permits(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return *step*, behind which every permit is free, and nobody connected."""

        def checked() -> None:
            step()
            eventually(self.nothing_runs, lambda: "calls are left")

        checked.__name__ = step.__name__
        return checked

    def nothing_runs(self) -> bool:
        """Whether neither the metrics nor the status know of a call."""
        _, _, page = ask(f"http://{self.node.admin}/metrics")
        counts = re.findall(rb"^inflight_requests{[^}]*} (\S+)$", page, re.M)
        assert counts
        status = ask_json(f"http://{self.node.admin}/api/v1/status")
        gates = [gate["in_use"] for gate in status["gates"]]
        assert gates
        return (
            {float(each) for each in counts} == {0.0} and not any(gates) and not status["connections"]["http"]
        )

    def caller(self) -> HttpCaller:
        return HttpCaller(self, self.node)

    def told(self, *pieces: bytes) -> list[int]:
        """Return the statuses that a caller gets who sends *pieces* and waits for the end."""
        return [answer.status for answer in read_answers(self.caller().say(*pieces).rest())]

    # Heads

    def heads(self) -> None:
        last = "Connection: close"
        self.assertEqual(self.told(request("/nope", last, *["X: y"] * 126)), [404])
        self.assertEqual(self.told(request("/nope", last, *["X: y"] * 127)), [431])
        whole = len(request("/nope", last, "X: "))
        self.assertEqual(self.told(request("/nope", last, "X: " + "y" * (16_384 - whole))), [404])
        self.assertEqual(self.told(request("/nope", last, "X: " + "y" * (16_385 - whole))), [431])
        self.assertEqual(self.told(b"GET /" + b"x" * 20_000), [431])

    def endless_heads(self) -> None:
        before = self.node.forget_peak()
        callers = [self.caller() for _ in range(20)]
        for each in callers:
            # Half of what it says a moment of it, and more than is thrown away at the end.
            each.say(request("/", "X: " + "y" * (1 << 20)))
        for each in callers:
            answers = each.rest()
            # A caller that goes on sending for longer than the node listens may lose the answer to a reset.
            self.assertIn([answer.status for answer in read_answers(answers)], ([431], []))
        self.assertLess(self.node.memory(peak=True) - before, _MOST_BYTES)
        # A field of a mebibyte fits into what is thrown away: whoever sends it is told.
        self.assertEqual(self.told(request("/", "X: " + "y" * 1_000_000)), [431])

    def fields_byte_by_byte(self) -> None:
        head = request("/nope", *["a:b"] * 400)
        self.assertEqual(self.told(*(head[index : index + 1] for index in range(len(head)))), [431])
        head = request("/nope", "Connection: close", *["a:b"] * 100)
        self.assertEqual(self.told(*(head[index : index + 1] for index in range(len(head)))), [404])

    # Pipelines

    def pipelines(self) -> None:
        for target, status in ((_SEARCH, 200), ("/nope", 404)):
            caller = self.caller()
            ids = [f"r{number}" for number in range(1_000)]
            asked = b"".join(request(target, f"X-Request-ID: {each}") for each in ids)
            caller.say(asked + request(target, "X-Request-ID: last", "Connection: close"))
            # Long before they are answered.
            self.node.check_bystander()
            self.assertEqual(self.told(request(target, "Connection: close")), [status])
            answers = read_answers(caller.rest())
            self.assertEqual(answers, [Answer(status, each) for each in (*ids, "last")])

    def pipelines_that_nobody_reads(self) -> None:
        before = self.node.forget_peak()
        callers = []
        for _ in range(5):
            callers.append(self.caller())
            callers[-1].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            callers[-1].socket.settimeout(0.5)
            # A hundred times as much as the buffers on the way hold of the answers.
            with self.assertRaises(TimeoutError):
                for _ in range(1_000):
                    callers[-1].socket.sendall(request("/nope") * 1_000)
        self.assertEqual(self.told(request(_SEARCH, "Connection: close")), [200])
        self.node.check_bystander()
        self.assertLess(self.node.memory(peak=True) - before, _MOST_BYTES)
        for each in callers:
            each.reset()

    # Bodies

    def expectations(self) -> None:
        expect = "Expect: 100-continue"
        for target, fields, status in (
            ("/nope", ("Content-Length: 9",), 404),
            ("/nope", ("Transfer-Encoding: chunked",), 404),
            (_SEARCH, ("Content-Length: 9",), 405),
            ("/app/media", ("Content-Length: 1048577",), 413),
            ("/app/media", ("Content-Length: 9", "Content-Encoding: br"), 415),
            ("/app/feed/t", ("Content-Length: 9",), 400),
            ("/app/media", ("Content-Length: 9", "Transfer-Encoding: chunked"), 400),
            ("/app/media", ("Content-Length: 9", "Expect: another"), 417),
        ):
            heard = self.caller().say(request(target, expect, *fields, method="POST")).rest()
            if "Expect: another" in fields:
                heard = self.caller().say(request(target, *fields, method="POST")).rest()
            self.assertTrue(heard.startswith(b"HTTP/1.1 %d " % status), heard[:80])
            self.assertNotIn(b"100 Continue", heard)
        caller = self.caller().say(request("/app/media", expect, "Content-Length: 9", method="POST"))
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        self.assertEqual(caller.until(len(interim)), interim)
        caller.say(b"some body", request("/nope", "Connection: close"))
        self.assertEqual([answer.status for answer in read_answers(caller.rest())], [201, 404])
        # It waits for the 100, and never sends: the deadline ends it.
        heard = self.caller().say(request("/app/media", expect, "Content-Length: 9", method="POST")).rest()
        self.assertEqual([answer.status for answer in read_answers(heard)], [408])

    def early_answers(self) -> None:
        """Refused from the head, while the body is on its way: up to 1 MiB of it the answer arrives."""
        for target, status in (("/nope", 404), ("/app/feed/t/recv", 413), (_SEARCH, 405)):
            head = request(target, "Content-Length: 900000", method="POST")
            self.assertEqual(self.told(head, bytes(900_000)), [status])
        # In the middle of a body.
        chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n"
        head = request("/app/media", "Transfer-Encoding: chunked", method="POST")
        self.assertEqual(self.told(head, *[chunk] * 5), [413])
        # All of it, and for ever.
        self.caller().say(request("/nope", "Content-Length: 99999999", method="POST"), *[bytes(65_536)] * 200)

    def bodies_that_nobody_asked_for(self) -> None:
        for method in ("GET", "HEAD"):
            head = request(_SEARCH, "Content-Length: 5", method=method)
            heard = self.caller().say(head + b"hello" + request(_SEARCH)).rest()
            self.assertTrue(heard.startswith(b"HTTP/1.1 413 " if method == "GET" else b"HTTP/1.1 405 "))
            self.assertEqual(heard.count(b"HTTP/1.1 "), 1)
        # A length of zero is none.
        self.assertEqual(self.told(request(_SEARCH, "Content-Length: 0", "Connection: close")), [200])

    # Ends

    def half_closes(self) -> None:
        """What the node says itself is said; of an owner's answers those that were faster than the end."""
        for asked, statuses, waits in (
            (request("/nope"), [404], False),
            (request("/nope") * 3, [404] * 3, False),
            (request("/nope") + b"GET / HT", [404], False),
            (request("/app/media", "Content-Length: 3", method="POST") + b"ab", [], False),
            (b"", [], False),
            (request(_SEARCH), [200], True),
            (request(_SEARCH) * 3, [200] * 3, True),
            (request("/app/media", "Content-Length: 3", method="POST") + b"abc", [201], True),
        ):
            caller = self.caller().say(asked)
            caller.socket.shutdown(socket.SHUT_WR)
            heard = [answer.status for answer in read_answers(caller.rest())]
            self.assertEqual(heard, statuses[: len(heard)] if waits else statuses)
            eventually(self.nothing_runs)

    def requests_behind_a_close(self) -> None:
        last = request(_SEARCH, "Connection: close")
        self.assertEqual(self.told(last + request(_SEARCH) * 100), [200])
        self.assertEqual(self.told(last, *[request(_SEARCH)] * 10), [200])
        self.assertEqual(self.told(b"GET /nope HTTP/1.0\r\n\r\n" + request(_SEARCH)), [404])

    def slow_readers(self) -> None:
        """Small answers are the kernel's to hold: the node has done with a caller that dawdles over one."""
        callers = [self.caller().say(request(_SEARCH)) for _ in range(20)]
        eventually(self.nothing_runs)
        for each in callers:
            # The node has closed the idle connection meanwhile, or does so now: what it said is there.
            self.assertEqual(each.until(1), b"H")
            self.assertEqual(each.rest()[:14], b"TTP/1.1 200 OK")

    def resets_amid_answers(self) -> None:
        body = bytes(1 << 20)
        head = request("/app/media", f"Content-Length: {len(body)}", "Connection: close", method="POST")
        cid = json.loads(self.caller().say(head, body).rest().partition(b"\r\n\r\n")[2])["cid"]
        for taken in (0, 1, 1_000, 100_000):
            callers = [self.caller().say(request(f"/app/media/{cid}") * 3) for _ in range(10)]
            for each in callers:
                self.assertEqual(len(each.until(taken)), taken)
            for each in callers:
                each.reset()
        heard = self.caller().say(request(f"/app/media/{cid}", "Connection: close")).rest()
        self.assertEqual(heard.partition(b"\r\n\r\n")[2], body)

    def resets_amid_requests(self) -> None:
        for asked in (
            b"",
            b"GET / HT",
            request("/app/media", "Content-Length: 1000", method="POST") + bytes(500),
            request("/app/media", "Transfer-Encoding: chunked", method="POST") + b"5\r\nhel",
            request(_SEARCH) * 50,
        ):
            callers = [self.caller().say(asked) for _ in range(20)]
            for each in callers:
                each.reset()
