"""The feed through both doors, before an owner that is a process: nothing that was sent is lost.

Owner and node are stopped and started again while there are subscribers at both doors. Each message reaches
one of them at least once, and none comes again after it was acknowledged.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import tempfile
import threading
import time
from base64 import b64decode
from http.client import HTTPException
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import Program, eventually
from tests.contracts.owner import Answer, _UnixConnection, ask_url
from tests.support.eventsource import EventReader

OWNERS = ("index", "mailbox", "storage", "overlay", "policy")


class Listener(threading.Thread):
    """An EventSource that acknowledges what it gets, and comes back as long as it is wanted.

    :ivar got: each delivery: when it came, the message's id, its payload.
    :ivar acked: when each was acknowledged, by id.
    """

    def __init__(self, path: str) -> None:
        super().__init__(daemon=True)
        self.got: list[tuple[float, str, str]] = []
        self.acked: dict[str, float] = {}
        self.wanted = True
        self.connects = 0
        self._path = path

    def run(self) -> None:
        while self.wanted:
            try:
                self._listen()
            except (OSError, HTTPException, ValueError):
                time.sleep(0.05)

    def _listen(self) -> None:
        connection = _UnixConnection(self._path)
        try:
            connection.request("GET", "/app/feed/jobs/events", headers={"Host": "localhost"})
            response = connection.getresponse()
            if response.status != 200:
                time.sleep(0.05)
                return
            self.connects += 1
            reader = EventReader()
            while self.wanted and (data := response.read1(65_536)):
                reader.feed(data)
                for event in reader.events:
                    if event.type == "message":
                        self._take(json.loads(event.data), event.last_event_id)
                reader.events.clear()
        finally:
            connection.close()

    def _take(self, message: Any, event_id: str) -> None:
        msg_id = message["msg_id"]
        assert msg_id == event_id
        self.got.append((time.monotonic(), msg_id, b64decode(message["payload_b64"]).decode()))
        answer = ask_url(f"unix:{self._path}", "POST", f"/app/feed/jobs/ack/{msg_id}", Host="localhost")
        if answer.status == 204:
            self.acked[msg_id] = time.monotonic()


class FeedCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Not below the folder of the run: a socket's path holds 107 bytes.
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.owners = self.start_owners()
        self.node = self.start_node()

    def start_owners(self) -> Program:
        where = [f"--{name}=unix:{self.folder}/{name}" for name in OWNERS]
        owners = Program(self, "owners", *where, "--data", f"{self.folder}/data")
        owners.until_complaint('"ready"')
        return owners

    def start_node(self) -> Program:
        sets = [f"owners.{name}.url=unix:{self.folder}/{name}" for name in OWNERS[:3]]
        sets += ["drain.grace=0s", "drain.deadline=5s"]
        listen = ["--http", f"unix:{self.folder}/http", "--oap", f"unix:{self.folder}/oap"]
        node = Program(
            self,
            *("run", *listen, "--admin", "127.0.0.1:0", *(word for each in sets for word in ("--set", each))),
        )
        node.until_complaint('"running"')
        return node

    def stop(self, program: Program) -> None:
        program.kill(signal.SIGTERM)
        self.assertEqual(program.end(), 0, program.complained)
        self.assertNotIn("Traceback", program.complained)

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        return ask_url(f"unix:{self.folder}/http", method, path, body, Host="localhost", **fields)

    def send(self, *numbers: int) -> None:
        """Send messages, each as often as it takes."""
        for number in numbers:
            eventually(lambda number=number: self.sent(number), lambda: "a message was not taken")

    def sent(self, number: int) -> bool:
        """Whether a message could be sent; it is there once, however often that is tried."""
        try:
            answer = self.ask("POST", "/app/feed/jobs", b"%d" % number, Idempotency_Key=f"key-{number}")
        except OSError:
            return False
        return answer.status in (200, 201)

    def subscriber(self) -> Program:
        """Start one at the other door."""
        words = ("feed", "subscribe", "--args", '{"topic": "jobs"}', "--subscribe", "--ack")
        return Program(self, "call", f"unix:{self.folder}/oap", *words)

    def listener(self) -> Listener:
        listener = Listener(f"{self.folder}/http")
        listener.start()

        def end() -> None:
            listener.wanted = False

        self.addCleanup(end)
        return listener

    def read(self, program: Program) -> list[tuple[str, str]]:
        """Return what a subscriber has printed, as ids and payloads."""
        lines = program.printed.decode().splitlines()
        messages = [json.loads(line) for line in lines if line.endswith("}")]
        return [(each["msg_id"], b64decode(each["payload_b64"]).decode()) for each in messages]

    def check(self, count: int, listener: Listener, *programs: Program) -> None:
        """All came, nothing came again after its acknowledgement, and nothing is left."""
        got = [(msg_id, payload) for _, msg_id, payload in listener.got]
        for program in programs:
            program.kill(signal.SIGINT)
            program.end()
            got += self.read(program)
        self.assertEqual({payload for _, payload in got}, {str(number) for number in range(count)})
        for at, msg_id, _ in listener.got:
            self.assertLessEqual(at, listener.acked.get(msg_id, at), "it came after it was acknowledged")
        listener.wanted = False
        for topic in ("jobs", "jobs.dlq"):
            self.assertEqual(self.ask("POST", f"/app/feed/{topic}/recv").json, {"messages": []}, topic)

    def all_came(self, count: int, listener: Listener, *programs: Program) -> None:
        def complete() -> bool:
            found = {payload for _, _, payload in listener.got}
            for program in programs:
                program.printed += _at_hand(program)
                found |= {payload for _, payload in self.read(program)}
            return len(found) == count

        eventually(complete, lambda: f"not all came: {len(listener.got)} by HTTP; {self.node.complained}")


def _at_hand(program: Program) -> bytes:
    assert program.process.stdout is not None
    descriptor = program.process.stdout.fileno()
    return os.read(descriptor, 65_536) if select.select([descriptor], [], [], 0)[0] else b""


class LossTests(FeedCase):
    def test_the_owner_is_started_again(self) -> None:
        listener, subscriber = self.listener(), self.subscriber()
        self.send(*range(20))
        self.all_came(20, listener, subscriber)
        self.stop(self.owners)
        time.sleep(0.3)
        self.owners = self.start_owners()
        self.send(*range(20, 40))
        self.all_came(40, listener, subscriber)
        self.assertEqual(listener.connects, 1, "the subscription went on")
        self.assertIsNone(subscriber.process.poll())
        self.check(40, listener, subscriber)
        self.stop(self.node)

    def test_the_node_is_started_again(self) -> None:
        listener, subscriber = self.listener(), self.subscriber()
        self.send(*range(20))
        self.all_came(20, listener, subscriber)
        sending = threading.Thread(target=self.send, args=range(20, 60))
        sending.start()
        self.stop(self.node)
        self.node = self.start_node()
        sending.join()
        again = self.subscriber()
        self.all_came(60, listener, subscriber, again)
        self.assertGreaterEqual(listener.connects, 2)
        # It was told that the node stops, or found nobody for its acknowledgement.
        self.assertIn(subscriber.end(), (1, 69))
        self.check(60, listener, again)
        self.stop(self.node)


class NameTests(FeedCase):
    def test_names(self) -> None:
        """Whatever a name is, it is one segment, refused or taken whole."""
        for topic in ("a%2Fb", "%2E%2E", "..%2F..", "a%2F%2Fb", "%252F", "%C3%A9", "x" * 128):
            sent = self.ask("POST", f"/app/feed/{topic}", b"x", Idempotency_Key="k")
            if topic == "%2E%2E":
                self.assertEqual(sent.status, 400)
                continue
            self.assertEqual(sent.status, 201, topic)
            (message,) = self.ask("POST", f"/app/feed/{topic}/recv").json["messages"]
            self.assertEqual(self.ask("POST", f"/app/feed/{topic}/ack/{message['msg_id']}").status, 204)
        for topic, statuses in (
            ("%00", {400}),
            ("a%0Ab", {400}),
            ("..", {400, 404}),
            ("a//b", {404}),
            ("x" * 129, {400}),
            ("x" * 10_240, {400}),
        ):
            for path in (f"/app/feed/{topic}", f"/app/feed/{topic}/recv", f"/app/feed/t/ack/{topic}"):
                if "ack" in path and topic == "a%0Ab":
                    continue
                status = self.ask("POST", path, Idempotency_Key="k").status
                self.assertIn(status, statuses, path[:40])
        self.assertEqual(self.ask("POST", "/app/feed/t/ack/..%2Fsend").status, 404)
        self.stop(self.node)
