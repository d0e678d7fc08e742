"""Every request of ``docs/FRAMING.rst`` before a real node: directly, and behind HAProxy and nginx.

What is asked behind a front end: that the node never sees a request which the front end does not know it has
sent, and that nobody gets an answer which is another's. Other callers ask all the while, on the same
connections between front end and node.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, eventually
from tests.support.frontends import Answer, FrontEnd, excess, node_seen, read_answers
from tests.support.smuggling import FACET, PAYLOADS
from tests.support.switched import SwitchedNode

#: How long a payload has to get as far as it comes, before another caller asks.
_HEAD_START_S = 0.02
#: Callers whose answers are waited for at the same time: none is left to a front end's bounds.
_MOST = 40
_ROUTES = [{"method": method, "path": "/{rest}", "access": "write"} for method in ("GET", "POST")]


class SmugglingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = SwitchedNode(
            self,
            {
                f"facets.{FACET}": {"kind": "echo", "routes": _ROUTES},
                "timeouts": {"read": "700ms", "body": "700ms"},
                "drain": {"grace": "0s", "deadline": "0s"},
            },
        )
        #: How much of the node's log was there before.
        self.before = len(self.node.program.complained)

    def seen(self) -> dict[str, int]:
        """Return what the node has seen since."""
        return node_seen(self.node.program.complained[self.before :])

    def send(self, where: str, data: bytes) -> socket.socket:
        host, _, port = where.rpartition(":")
        caller = socket.create_connection((host, int(port)), PATIENCE_S)
        self.addCleanup(caller.close)
        with contextlib.suppress(ConnectionError):
            caller.sendall(data)
        return caller

    def test_directly(self) -> None:
        told = 0
        for number, payload in enumerate(PAYLOADS):
            with self.subTest(group=payload.group, name=payload.name):
                caller = self.send(self.node.http, payload.run(number))
                wanted = list(payload.outcome.statuses)
                data = b""
                while payload.outcome.closes or [each.status for each in _whole(data)] != wanted:
                    piece = caller.recv(65_536)
                    if not piece:
                        break
                    data += piece
                self.assertEqual([each.status for each in read_answers(data)], wanted)
                self.assert_own(data, number)
                told += len(wanted)
                caller.close()
        # Nothing of what was refused was served, or answered, behind its caller's back.
        eventually(lambda: sum(self.seen().values()) >= told)
        self.assertEqual(sum(self.seen().values()), told)
        self.node.stop()

    def test_behind_haproxy(self) -> None:
        self.behind("haproxy")

    def test_behind_nginx(self) -> None:
        self.behind("nginx")

    def behind(self, name: str) -> None:
        front = FrontEnd(self, name, self.node.http)
        for way, port in enumerate(front.ports.values()):
            where = f"127.0.0.1:{port}"
            waiting: list[tuple[int, socket.socket]] = []
            for index, payload in enumerate(PAYLOADS):
                number = way * len(PAYLOADS) + index
                caller = self.send(where, payload.run(number))
                select.select([caller], [], [], _HEAD_START_S)
                self.ask_as_another(where, number)
                waiting.append((number, caller))
                if len(waiting) > _MOST:
                    self.collect(*waiting.pop(0))
            for each in waiting:
                self.collect(*each)
        differs = eventually(
            lambda: not excess(self.seen(), front.forwarded()),
            lambda: f"seen, not sent: {excess(self.seen(), front.forwarded())}",
        )
        self.assertTrue(differs)
        # Those that are no attack pass, and the other callers: otherwise nothing was tried.
        seen = self.seen()
        others = {each: count for each, count in seen.items() if each.startswith("other-")}
        self.assertEqual(set(others.values()), {1})
        self.assertEqual(len(others), 2 * len(PAYLOADS))
        self.assertGreater(sum(each.startswith("inner-") for each in seen), 2 * 10)
        self.node.stop()

    def ask_as_another(self, where: str, number: int) -> None:
        """Be a caller beside the one with the payload, and get the answer to what was asked."""
        lines = [f"GET /app/{FACET}/other HTTP/1.1", "Host: localhost", f"X-Request-ID: other-{number:04}"]
        caller = self.send(where, "\r\n".join([*lines, "Connection: close", "", ""]).encode())
        (answer,) = read_answers(_all(caller))
        self.assertEqual(answer, Answer(200, f"other-{number:04}"), PAYLOADS[number % len(PAYLOADS)])

    def collect(self, number: int, caller: socket.socket) -> None:
        """Read what *caller* gets, and see that it is its own."""
        self.assert_own(_all(caller), number)
        caller.close()

    def assert_own(self, data: bytes, number: int) -> None:
        """No id but its own is in what it got: front ends also answer in HTTP/0.9 and HTTP/2."""
        named = set(re.findall(rb"(?:outer|inner|other)-[0-9]{4}", data))
        self.assertLessEqual(named, {b"outer-%04d" % number, b"inner-%04d" % number})


def _all(caller: socket.socket) -> bytes:
    """Return what comes until the end; whatever was there before a reset."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := caller.recv(65_536):
            data += piece
    return data


def _whole(data: bytes) -> list[Answer]:
    """Return the answers in *data*; none while one of them is not whole."""
    try:
        return read_answers(data)
    except (AssertionError, ValueError):
        return []
