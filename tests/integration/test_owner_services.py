"""The five reference owners in one process, from outside: their contracts, their end, and every fault."""

from __future__ import annotations

import errno
import json
import re
import signal
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import OWNER_NAMES
from tests.cli.processes import PATIENCE_S, Program
from tests.contracts.owner import ask_url
from tests.contracts.owner_storage import address
from tests.support.ownersuites import failures, run
from tests.support.switched import OwnersProgram

HELLO = b"hello world"
CID = address(HELLO)
QUESTION = b'{"facet": "media", "op": "get", "method": "GET"}'
#: What a raw request asks of each owner.
REQUESTS = {
    "index": b"GET /resolve/name:hello.md HTTP/1.1\r\nHost: owner\r\n\r\n",
    "mailbox": b'POST /v1/recv HTTP/1.1\r\nHost: owner\r\nContent-Length: 14\r\n\r\n{"topic": "t"}',
    "storage": f"GET /o/{CID} HTTP/1.1\r\nHost: owner\r\n\r\n".encode(),
    "overlay": f"GET /o/{CID} HTTP/1.1\r\nHost: owner\r\n\r\n".encode(),
    "policy": b"POST /v1/decide HTTP/1.1\r\nHost: owner\r\nContent-Length: %d\r\n\r\n%s"
    % (len(QUESTION), QUESTION),
}


class Owners(OwnersProgram):
    """``micronode owners`` with a corpus of one file."""

    def __init__(self, case: SynchronousTestCase, *options: str, packages: bool = False) -> None:
        """:param packages: rather with the packages of this environment."""
        super().__init__(case, None if packages else {"hello.md": HELLO}, *options)


class Raw:
    """One connection, on which nothing is hidden."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE_S)
        self.heard = b""
        #: How many pieces they came in.
        self.pieces = 0
        #: ``""`` while it is open, ``"end"`` or ``"reset"``.
        self.over = ""

    def until(self, size: int = 1 << 30, *, body: bool = False) -> bytes:
        """Read until *size* bytes (of the *body*) have come or the connection is over; return them all."""
        while not self.over and len(self.body if body else self.heard) < size:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                self.over = "reset"
            else:
                self.heard += data
                self.pieces += 1
                self.over = self.over or ("" if data else "end")
        return self.body if body else self.heard

    @property
    def body(self) -> bytes:
        return self.heard.partition(b"\r\n\r\n")[2]

    @property
    def is_silent(self) -> bool:
        """Nothing comes, for a moment."""
        self.socket.settimeout(0.2)
        try:
            self.heard += self.socket.recv(65_536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)
        return False

    @property
    def length(self) -> int:
        found = re.search(rb"(?i)content-length: (\d+)", self.heard)
        assert found, self.heard
        return int(found[1])


class ContractTests(SynchronousTestCase):
    def test_every_owner_at_its_url(self) -> None:
        peer = Owners(self)
        owners = Owners(
            self, "--peer", "unix:/nowhere/storage", "--peer", peer.urls["storage"], packages=True
        )
        urls = owners.urls
        self.assertEqual(set(urls), set(OWNER_NAMES))
        result = run({**urls, "storage": peer.urls["storage"]})
        self.assertEqual(failures(result), "")
        self.assertGreater(result.testsRun, 40)
        for each in (owners, peer):
            each.kill(signal.SIGTERM)
            self.assertEqual(each.end(), 0)
            self.assertNotIn("Traceback", each.complained)


class MailboxTests(SynchronousTestCase):
    """What needs a real connection: waiting, leaving, the end, and the next process."""

    def post(self, url: str, path: str, **members: Any) -> Any:
        answer = ask_url(url, "POST", path, json.dumps(members).encode())
        self.assertLess(answer.status, 300, answer.body)
        return answer.json

    def wait(self, url: str) -> Raw:
        body = b'{"topic": "t", "wait_ms": 30000}'
        raw = Raw(url)
        self.addCleanup(raw.socket.close)
        raw.socket.sendall(
            b"POST /v1/recv HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        return raw

    def let_it_notice(self, url: str) -> None:
        """Have the owner look at its connections, more than once, after what was done before."""
        for _ in range(5):
            self.assertEqual(ask_url(url, "GET", "/healthz").status, 200)

    def test_waiting_leaving_and_the_end(self) -> None:
        owners = Owners(self)
        url = owners.urls["mailbox"]
        gone, here = self.wait(url), self.wait(url)
        gone.socket.close()
        self.let_it_notice(url)
        sent = self.post(url, "/v1/send", topic="t", idem_key="1", payload_b64="aGk=")
        here.until(1, body=True)
        [message] = json.loads(here.body)["messages"]
        self.assertEqual((message["msg_id"], message["attempt"]), (sent["msg_id"], 1))
        waiting = self.wait(url)
        self.let_it_notice(url)
        owners.kill(signal.SIGTERM)
        waiting.until()
        self.assertEqual(json.loads(waiting.body), {"messages": []})
        self.assertEqual(owners.end(), 0)

    def test_kept(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        first = Owners(self, "--data", folder.name)
        same = {"topic": "t", "idem_key": "1", "payload_b64": "aGk="}
        sent = self.post(first.urls["mailbox"], "/v1/send", **same)
        self.post(first.urls["mailbox"], "/v1/recv", topic="t", visibility_ms=1)
        first.kill(signal.SIGKILL)
        first.end()
        url = Owners(self, "--data", folder.name).urls["mailbox"]
        [message] = self.post(url, "/v1/recv", topic="t", wait_ms=20_000)["messages"]
        self.assertEqual((message["msg_id"], message["attempt"]), (sent["msg_id"], 2))
        self.assertEqual(self.post(url, "/v1/send", **same), {**sent, "duplicate": True})


class RefusalTests(SynchronousTestCase):
    def test_rules(self) -> None:
        path = Path(self.mktemp())
        path.write_text('[[rule]]\nacton = "deny"\n')
        owners = Program(self, "owners", "--rules", str(path.resolve()))
        self.assertEqual(owners.end(), 78)
        self.assertIn("did you mean action?", owners.complained)

    def test_faults(self) -> None:
        owners = Program(self, "owners", "--fault", "storage=stal:2s@0.1")
        self.assertEqual(owners.end(), 64)
        self.assertIn("did you mean stall?", owners.complained)
        self.assertNotIn("Traceback", owners.complained)


class FaultTests(SynchronousTestCase):
    """Each of the twelve, by a raw socket; several owners share a process, so that they are few."""

    def start(self, *faults: str) -> Owners:
        return Owners(self, "--fault", ",".join(faults), "--peer", self.peer.urls["storage"])

    def ask(self, owners: Owners, name: str) -> Raw:
        raw = Raw(owners.urls[name])
        self.addCleanup(raw.socket.close)
        raw.socket.sendall(REQUESTS[name])
        return raw

    def test_every_fault(self) -> None:
        self.peer = Owners(self)
        one = self.start(
            "index=bad-json",
            "mailbox=reset",
            "storage=stall-body",
            "overlay=wrong-digest",
            "policy=500",
        )
        two = self.start(
            "index=drip:20ms",
            "mailbox=503:3s",
            "storage=bad-chunk",
            "overlay=wrong-length",
            "policy=stall:100ms",
        )
        three = self.start(
            "index=refuse",
            "mailbox=oversize:1MiB",
            "storage=wrong-length:long",
            "overlay=reset:body",
            "policy=stall",
        )

        raw = self.ask(one, "index")
        raw.until(1, body=True)
        raw.until(raw.length, body=True)
        self.assertEqual(len(raw.body), raw.length)
        self.assertRaises(ValueError, json.loads, raw.body)

        raw = self.ask(one, "mailbox")
        self.assertEqual((raw.until(), raw.over), (b"", "reset"))

        raw = self.ask(one, "storage")
        self.assertEqual((raw.until(6, body=True), raw.length), (b"hello ", 11))
        self.assertTrue(raw.is_silent)

        raw = self.ask(one, "overlay")
        raw.until(11, body=True)
        self.assertEqual((raw.body[:-1], raw.length), (HELLO[:-1], 11))
        self.assertNotEqual(raw.body, HELLO)

        raw = self.ask(one, "policy")
        raw.until(1, body=True)
        self.assertTrue(raw.heard.startswith(b"HTTP/1.1 500 "))

        raw = self.ask(two, "index")
        raw.until(1, body=True)
        raw.until(raw.length, body=True)
        self.assertGreater(raw.pieces, 5)
        self.assertEqual(json.loads(raw.body)["key"], "name:hello.md")

        raw = self.ask(two, "mailbox")
        raw.until(1, body=True)
        self.assertTrue(raw.heard.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"\r\nRetry-After: 3\r\n", raw.heard)

        raw = self.ask(two, "storage")
        raw.until()
        self.assertEqual((raw.body, raw.over), (b"6\r\nhello \r\nnonsense\r\n", "end"))

        raw = self.ask(two, "overlay")
        raw.until()
        self.assertEqual((raw.body, raw.length, raw.over), (HELLO, 21, "end"))

        raw = self.ask(two, "policy")
        raw.until(1, body=True)
        self.assertIn(b'"allow"', raw.body)

        host, _, port = three.urls["index"].removeprefix("http://").rpartition(":")
        error = self.assertRaises(OSError, socket.create_connection, (host, int(port)), PATIENCE_S)
        self.assertEqual(error.errno, errno.ECONNREFUSED)

        raw = self.ask(three, "mailbox")
        raw.until(1, body=True)
        self.assertGreater(raw.length, 2**20)
        raw.until(raw.length, body=True)
        self.assertEqual(json.loads(raw.body), {"messages": []})

        raw = self.ask(three, "storage")
        raw.until()
        self.assertEqual((raw.body, raw.length, raw.over), (HELLO, 1, "end"))

        raw = self.ask(three, "overlay")
        raw.until()
        self.assertEqual((raw.body, raw.length, raw.over), (b"hello", 11, "reset"))

        raw = self.ask(three, "policy")
        self.assertTrue(raw.is_silent)

        for owners in (one, two, three):
            for name in OWNER_NAMES:
                if (owners, name) != (three, "index"):
                    self.assertEqual(ask_url(owners.urls[name], "GET", "/readyz").status, 200)
            owners.kill(signal.SIGTERM)
            self.assertEqual(owners.end(), 0)
            self.assertNotIn("Traceback", owners.complained)

    def test_a_share_of_requests_the_same_with_the_same_seed(self) -> None:
        found = []
        for _ in range(2):
            owners = Owners(self, "--fault", "storage=500@0.3,policy=500@0", "--fault-seed", "x")
            url = owners.urls["storage"]
            found.append([ask_url(url, "GET", f"/o/{CID}").status for _ in range(40)])
            self.assertEqual(ask_url(owners.urls["policy"], "POST", "/v1/decide", QUESTION).status, 200)
            self.assertIn('"seed": "x"', owners.complained)
        self.assertEqual(found[0], found[1])
        self.assertEqual(set(found[0]), {200, 500})

    def test_a_share_of_connections(self) -> None:
        owners = Owners(self, "--fault", "storage=refuse@0.5", "--fault-seed", "x")
        seen = [self.outcome(owners) for _ in range(30)]
        self.assertEqual(set(seen), {"answered", "refused"})

    def outcome(self, owners: Owners) -> str:
        """Ask on a new connection. Its reset may be noticed as early as when it is made."""
        try:
            raw = self.ask(owners, "storage")
            raw.until(1)
        except ConnectionError:
            return "refused"
        return "refused" if raw.over == "reset" and not raw.heard else "answered"
