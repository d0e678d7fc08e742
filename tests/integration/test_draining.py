"""What callers see of a node that drains."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from micronode.oap.wire.profiles import Profile
from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program, ask_json, eventually
from tests.support.slowindex import SlowIndex

POST = b"POST /app/pay/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
ASK = b"GET /app/search?q=x HTTP/1.1\r\nHost: localhost\r\n\r\n"


class KeepAliveTests(SynchronousTestCase):
    def test_who_keeps_a_connection_loses_no_call(self) -> None:
        """It asks every 0.25 s; from the drain's beginning each answer says that it is the last."""
        node = Program(self, "run", *FREE, *NO_OWNERS, "--set", "drain.grace=1s")
        http = node.until_complaint(r'"listener":"http","address":"([^"]+)"')[1]
        node.until_complaint('"running"')
        host, _, port = http.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        answers: list[str | None] = []
        for count in range(100):
            if count == 2:
                node.kill(signal.SIGTERM)
                node.until_complaint('"draining"')
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    break  # there is no listener any more: the next node is asked
            connection.request("GET", "/app/search?q=x")
            response = connection.getresponse()
            response.read()
            self.assertEqual(response.status, 503)  # its owner is not there
            answers.append(response.getheader("Connection"))
            time.sleep(0.25)
        self.assertEqual(answers[:2], [None, None])
        self.assertGreater(len(answers), 3)
        self.assertEqual(set(answers[2:]), {"close"})
        self.assertEqual(node.end(), 0)


class LeftoverTests(SynchronousTestCase):
    """A real process with a call that its owner does not answer."""

    def setUp(self) -> None:
        self.index = SlowIndex(self)

    def run_node(self, grace: str, deadline: str, *words: str) -> Program:
        node = Program(
            self,
            "run",
            *FREE,
            *NO_OWNERS[2:],
            *(f"--set=owners.index.url={self.index.url}", "--set=facets.search.timeout=60s"),
            *(
                "--set=owners.index.timeout=60s",
                f"--set=drain.grace={grace}",
                f"--set=drain.deadline={deadline}",
            ),
            *words,
        )
        node.until_complaint('"state":"running"')
        found = re.findall(r'"listener":"(\w+)","address":"([^"]+)"', node.complained)
        self.addresses = dict(found)
        return node

    def connect(self, listener: str) -> socket.socket:
        host, _, port = self.addresses[listener].rpartition(":")
        caller = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.addCleanup(caller.close)
        return caller

    def call(self) -> socket.socket:
        """Ask what is not answered, and return when the owner has been asked."""
        caller = self.connect("http")
        caller.sendall(ASK)
        self.assertTrue(self.index.asked.wait(PATIENCE_S))
        return caller

    def test_callers_of_what_did_not_finish_are_told(self) -> None:
        node = self.run_node("0s", "300ms")
        http, idle, half = self.call(), self.connect("http"), self.connect("http")
        half.sendall(b"GET /app/")
        oap = Caller(self.addresses["oap"])
        self.addCleanup(oap.close)
        oap.ask("x")
        eventually(lambda: self.status()["calls"] == 2)
        node.kill(signal.SIGTERM)
        answer = read_to_end(http)
        self.assertTrue(answer.startswith(b"HTTP/1.1 504 "), answer)
        self.assertIn(b'"code":"owner_timeout"', answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        answer = read_to_end(half)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b'"code":"draining"', answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertIn(b"\r\nRetry-After: ", answer)
        self.assertEqual(read_to_end(idle), b"", "it was closed, and not reset")
        self.assertEqual(oap.errors(), ["owner_timeout"])
        self.assertEqual(node.end(), 0)
        self.assertIn('"drain_deadline"', node.complained)
        self.assertNotIn("Traceback", node.complained)

    def status(self) -> Any:
        status = ask_json(f"http://{self.addresses['admin']}/api/v1/status")
        return status | {
            "calls": sum(each["in_use"] for each in status["gates"] if each["facet"] == "search")
        }

    def test_a_second_signal_of_either_kind_cuts(self) -> None:
        for first, second in (
            (signal.SIGTERM, signal.SIGINT),
            (signal.SIGINT, signal.SIGTERM),
        ):
            node = self.run_node("1h", "1h")
            caller = self.call()
            node.kill(first)
            node.until_complaint('"draining"')
            self.assertEqual(self.status()["drain"]["phase"], "grace")
            node.kill(second)
            self.assertIn(b'"code":"owner_timeout"', read_to_end(caller))
            self.assertEqual(node.end(), 0)
            self.index.asked.clear()

    def test_a_write_that_came_to_its_owner_is_never_told_that_nothing_was_done(self) -> None:
        """By either door, at the deadline and by a second signal; one that waited for its turn always is."""
        text = (
            f'[facets.pay]\nkind = "proxy"\nupstream = "{self.index.url}"\nlimit = 2\nqueue = 9\n'
            'timeout = "60s"\nroutes = [{ method = "POST", path = "/{rest}", access = "write" }]\n'
        )
        config = Path(self.mktemp())
        config.write_text(text)
        for hurries in (False, True):
            deadline = "1h" if hurries else "300ms"
            node = self.run_node("0s", deadline, "--config", str(config.absolute()))
            callers: list[tuple[socket.socket, Caller]] = []
            for number in range(3):
                http, oap = self.connect("http"), Caller(self.addresses["oap"])
                self.addCleanup(oap.close)
                http.sendall(POST % number)
                oap.post(str(number))
                callers.append((http, oap))
                if number == 0:
                    eventually(lambda: len(self.index.written) == 2)
            eventually(self.all_wait)
            node.kill(signal.SIGTERM)
            if hurries:
                node.until_complaint('"phase":"finishing"')
                node.kill(signal.SIGTERM)
            codes = [re.findall(rb'"code":"(\w+)"', read_to_end(http)) for http, _ in callers]
            self.assertEqual(codes, [[b"owner_timeout"], [b"draining"], [b"draining"]])
            self.assertEqual(
                [oap.errors() for _, oap in callers], [["owner_timeout"], ["draining"], ["draining"]]
            )
            self.assertEqual(node.end(), 0)
            self.assertEqual(len(self.index.written), 2, "nobody else came to the owner")
            self.assertNotIn("Traceback", node.complained)
            self.index.written.clear()

    def all_wait(self) -> bool:
        topology = ask_json(f"http://{self.addresses['admin']}/api/v1/status")["topology"]
        (queue,) = (part for part in topology if part["name"] == "calls.waiting")
        return sum(figure["now"] for figure in queue["figures"]) == 4

    def test_a_call_in_flight_finishes(self) -> None:
        node = self.run_node("0s", "1h")
        caller = self.call()
        node.kill(signal.SIGTERM)
        node.until_complaint('"phase":"finishing"')
        self.assertEqual(set(self.status()["listeners"]), {"admin"})
        self.index.release.set()
        answer = read_to_end(caller)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        caller.close()
        self.assertEqual(node.end(), 0)
        self.assertNotIn('"drain_deadline"', node.complained)

    def test_a_name_server_that_is_silent_does_not_keep_it(self) -> None:
        """A thread that looks an owner's name up cannot be told to stop."""
        python = (
            "import socket, sys, threading; "
            "socket.getaddrinfo = lambda *_, **__: threading.Event().wait(); "
            "from micronode.cli.main import main; sys.exit(main())"
        )
        node = Program(
            self,
            "run",
            *FREE,
            *NO_OWNERS[2:],
            "--set=owners.index.url=http://index.example:1",
            "--set=drain.grace=0s",
            "--set=drain.deadline=0s",
            python=("-c", python),
        )
        node.until_complaint('"state":"running"')
        # The first health check asks for the name at once.
        eventually(lambda: len(list(Path(f"/proc/{node.pid}/task").iterdir())) > 1)
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        self.assertNotIn("Traceback", node.complained)

    def test_who_reads_nothing_does_not_keep_it(self) -> None:
        node = self.run_node("0s", "300ms")
        deaf = self.connect("http")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # As many answers as the kernel's buffers do not hold.
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
        deaf.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            deaf.sendall(asked)
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        self.assertNotIn("Traceback", node.complained)

    def test_without_any_time_everybody_is_told(self) -> None:
        node = self.run_node("0s", "0s")
        callers = [self.call()]
        node.kill(signal.SIGSTOP)
        callers += [self.connect("http") for _ in range(20)]
        for caller in callers[1:]:
            caller.sendall(ASK)
        node.kill(signal.SIGTERM)
        node.kill(signal.SIGCONT)
        self.assertIn(b'"code":"owner_timeout"', read_to_end(callers[0]), "its owner has been asked")
        for caller in callers[1:]:
            answer = read_to_end(caller)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertIn(b'"code":"draining"', answer)
        self.assertEqual(node.end(), 0)

    def test_who_waits_in_the_backlog_is_served(self) -> None:
        """Connected while the node stands still, and drained at once: there is no grace."""
        node = self.run_node("0s", "5s")
        self.index.release.set()
        node.kill(signal.SIGSTOP)
        callers = [self.connect("http") for _ in range(20)]
        for caller in callers:
            caller.sendall(ASK)
        node.kill(signal.SIGTERM)
        node.kill(signal.SIGCONT)
        for caller in callers:
            self.assertTrue(read_to_end(caller).startswith(b"HTTP/1.1 200 "))
            caller.close()
        self.assertEqual(node.end(), 0)


def read_to_end(caller: socket.socket) -> bytes:
    """Read until the node has closed; a reset is an error."""
    data = b""
    while piece := caller.recv(65536):
        data += piece
    return data


class Caller:
    """A caller over OAP/1, driven by hand."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._peer = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._peer.sendall(encode_frame(REQ, 0, 0, 1, b'{"ua":null}'))
        self.close = self._peer.close

    def ask(self, text: str) -> None:
        head = dump_object({"op": "query", "args": {"q": text}})
        self._peer.sendall(encode_frame(REQ | START | END, 0, Profile.SEARCH, 2, head))

    def post(self, text: str) -> None:
        head = dump_object({"op": "call", "args": {"facet": "pay", "method": "POST", "path": f"/{text}"}})
        self._peer.sendall(encode_frame(REQ | START, 0, Profile.CUSTOM, 2, head))
        self._peer.sendall(encode_frame(REQ | END, 0, Profile.CUSTOM, 2, b"x"))

    def errors(self) -> list[str]:
        """Return the names of the errors that calls have got, when the node has closed."""
        frames = FrameDecoder().feed(read_to_end(self._peer))
        return [json.loads(frame[6])["code"] for frame in frames if frame[1] >= 400 and frame[4]]
