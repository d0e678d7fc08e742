"""What a mailbox owner promises (``docs/OWNERS.rst``); to be mixed into a ``SynchronousTestCase``."""

from __future__ import annotations

import uuid
from base64 import b64encode
from typing import Any

from tests.contracts.owner import OwnerAsking, OwnerContract

TENANT, OTHER = "0" * 31 + "1", "0" * 31 + "2"


class MailboxWords(OwnerAsking):
    """Sending and receiving, for the suite and for whoever tests a mailbox otherwise."""

    def topic(self) -> str:
        return f"jobs-{uuid.uuid4()}"

    def post(self, path: str, tenant: str = TENANT, **members: Any) -> Any:
        return self.ask_json("POST", path, members, X_Micronode_Tenant=tenant)

    def send(self, topic: str, payload: bytes = b"hello", *, tenant: str = TENANT, **members: Any) -> str:
        """Send a message; return its id."""
        case: Any = self
        members = {"idem_key": uuid.uuid4().hex, "payload_b64": b64encode(payload).decode(), **members}
        answer = self.post("/v1/send", tenant, topic=topic, **members)
        case.assertEqual(answer.status, 201, answer.body)
        case.assertEqual(list(answer.json), ["msg_id", "duplicate"])
        case.assertIs(answer.json["duplicate"], False)
        return answer.json["msg_id"]  # type: ignore[no-any-return]

    def receive(self, topic: str, tenant: str = TENANT, **members: Any) -> list[dict[str, Any]]:
        """Receive what is there."""
        case: Any = self
        answer = self.post("/v1/recv", tenant, topic=topic, **members)
        case.assertEqual(answer.status, 200, answer.body)
        case.assertEqual(list(answer.json), ["messages"])
        return answer.json["messages"]  # type: ignore[no-any-return]

    def ids(self, topic: str, **members: Any) -> list[str]:
        return [message["msg_id"] for message in self.receive(topic, max_messages=100, **members)]

    def settle(self, how: str, msg_id: str, tenant: str = TENANT) -> int:
        """Acknowledge a message or give it back; return the status."""
        case: Any = self
        answer = self.ask("POST", f"/v1/{how}/{msg_id}", X_Micronode_Tenant=tenant)
        if answer.status == 204:
            case.assertEqual(answer.body, b"")
        else:
            self.check_error(answer, 404, "not_found")
        return answer.status  # type: ignore[no-any-return]


class MailboxOwnerContract(MailboxWords, OwnerContract):
    """The conformance suite. Each test has a topic of its own."""

    refused = (("GET", "/v1/send", 405), ("PUT", "/v1/recv", 405), ("GET", "/v1/ack/x", 405))

    def test_a_message(self) -> None:
        case: Any = self
        topic = self.topic()
        msg_id = self.send(topic, bytes(range(256)), attrs={"kind": "é", "": ""})
        [message] = self.receive(topic)
        case.assertIsInstance(message.pop("ts"), float)
        case.assertEqual(
            message,
            {
                "msg_id": msg_id,
                "topic": topic,
                "payload_b64": b64encode(bytes(range(256))).decode(),
                "attrs": {"kind": "é", "": ""},
                "attempt": 1,
            },
        )

    def test_idempotency(self) -> None:
        case: Any = self
        topic = self.topic()
        same: dict[str, Any] = {
            "topic": topic,
            "idem_key": "k",
            "payload_b64": "aGk=",
            "attrs": {"a": "b", "c": "d"},
        }
        first = self.post("/v1/send", **same)
        for attributes in ({"a": "b", "c": "d"}, {"c": "d", "a": "b"}):
            again = self.post("/v1/send", **{**same, "attrs": attributes})
            case.assertEqual((again.status, again.json), (200, {**first.json, "duplicate": True}))
        for change in ({"payload_b64": "aGo="}, {"attrs": {}}):
            self.check_error(self.post("/v1/send", **{**same, **change}), 409, "conflict")
        # The key belongs to its topic and tenant.
        case.assertEqual(self.post("/v1/send", **{**same, "topic": self.topic()}).status, 201)
        case.assertEqual(self.post("/v1/send", OTHER, **same).status, 201)
        case.assertEqual(self.ids(topic), [first.json["msg_id"]])
        # It outlives its message.
        case.assertEqual(self.settle("ack", first.json["msg_id"]), 204)
        case.assertEqual(self.post("/v1/send", **same).json, {**first.json, "duplicate": True})
        case.assertEqual(self.ids(topic), [])

    def test_tenants_are_apart(self) -> None:
        case: Any = self
        topic = self.topic()
        msg_id = self.send(topic)
        case.assertEqual(self.receive(topic, OTHER), [])
        case.assertEqual(self.settle("ack", msg_id, OTHER), 404)
        case.assertEqual(self.settle("nack", msg_id, OTHER), 404)
        case.assertEqual(self.ids(topic), [msg_id])

    def test_who_says_no_tenant_is_one_too(self) -> None:
        case: Any = self
        topic = self.topic()
        sent = self.ask_json("POST", "/v1/send", {"topic": topic, "idem_key": "k", "payload_b64": ""})
        case.assertEqual(sent.status, 201)
        [message] = self.receive(topic, "0" * 32)
        case.assertEqual((message["msg_id"], message["payload_b64"]), (sent.json["msg_id"], ""))

    def test_order_and_number(self) -> None:
        case: Any = self
        topic = self.topic()
        sent = [self.send(topic) for _ in range(5)]
        case.assertEqual([message["msg_id"] for message in self.receive(topic)], sent[:1])
        case.assertEqual([message["msg_id"] for message in self.receive(topic, max_messages=2)], sent[1:3])
        case.assertEqual(self.ids(topic), sent[3:])
        case.assertEqual(self.ids(topic), [])
        # Given back, they are where they were.
        for msg_id in reversed(sent):
            case.assertEqual(self.settle("nack", msg_id), 204)
        case.assertEqual(self.ids(topic), sent)

    def test_acknowledged_is_gone(self) -> None:
        case: Any = self
        topic = self.topic()
        msg_id = self.send(topic)
        case.assertEqual(self.ids(topic), [msg_id])
        case.assertEqual([self.settle(how, msg_id) for how in ("ack", "ack", "nack")], [204, 404, 404])
        case.assertEqual(self.ids(topic), [])

    def test_giving_back_what_nobody_holds_changes_nothing(self) -> None:
        case: Any = self
        topic = self.topic()
        msg_id = self.send(topic)
        for _ in range(7):
            case.assertEqual(self.settle("nack", msg_id), 204)
        [message] = self.receive(topic)
        case.assertEqual(message["attempt"], 1)

    def test_a_message_comes_again(self) -> None:
        case: Any = self
        topic = self.topic()
        msg_id = self.send(topic)
        case.assertEqual(self.ids(topic, visibility_ms=1), [msg_id])
        [message] = self.receive(topic, wait_ms=10_000)
        case.assertEqual((message["msg_id"], message["attempt"]), (msg_id, 2))

    def test_dead_letters(self) -> None:
        case: Any = self
        for fail in ("nack", "late"):
            topic = self.topic()
            dead = self.send(topic, b"dead", attrs={"a": "b"})
            for attempt in range(1, 6):
                [message] = self.receive(topic, visibility_ms=30_000 if fail == "nack" else 1, wait_ms=10_000)
                case.assertEqual((message["msg_id"], message["attempt"]), (dead, attempt))
                if fail == "nack":
                    self.settle("nack", dead)
            # They do not die a second time.
            for attempt in range(1, 8):
                [message] = self.receive(f"{topic}.dlq", wait_ms=10_000)
                case.assertEqual(
                    (message["msg_id"], message["attempt"], message["topic"], message["attrs"]),
                    (dead, attempt, f"{topic}.dlq", {"a": "b"}),
                )
                self.settle("nack", dead)
            case.assertEqual(self.ids(topic), [])
            case.assertEqual(self.settle("ack", dead), 204)
            case.assertEqual(self.ids(f"{topic}.dlq"), [])

    def test_bytes(self) -> None:
        """What does not fit at all is passed over; what merely does not fit any more waits."""
        case: Any = self
        topic = self.topic()
        sizes = (30_000, 300, 20_000, 9_000)
        sent = [self.send(topic, bytes(size)) for size in sizes]
        case.assertEqual(self.ids(topic, max_bytes=10), [])
        case.assertEqual(self.ids(topic, max_bytes=30_000), sent[1:3])
        case.assertEqual(self.ids(topic, max_bytes=30_000), sent[3:])
        case.assertEqual(self.ids(topic), sent[:1])

    def test_waiting_in_vain(self) -> None:
        case: Any = self
        case.assertEqual(self.receive(self.topic(), wait_ms=20), [])

    def test_any_name_is_a_name(self) -> None:
        case: Any = self
        stem = self.topic()
        for name in (
            f"{stem}/../x",
            f"//{stem}",
            f"{stem}%00",
            f"{stem} é 😀",
            f"{stem}'; --",
            f"{stem}.dlq",
        ):
            msg_id = self.send(name, idem_key=name)
            case.assertEqual(self.ids(name), [msg_id], name)
            case.assertEqual(self.settle("ack", msg_id), 204)
        case.assertEqual(self.settle("ack", "..%2F%00'"), 404)

    def test_large(self) -> None:
        case: Any = self
        topic, payload = self.topic(), bytes(2**20)
        msg_id = self.send(topic, payload, attrs={"k": "\x00" * 8000})
        [message] = self.receive(topic)
        case.assertEqual((message["msg_id"], len(message["payload_b64"])), (msg_id, 1_398_104))
        members = {"topic": topic, "idem_key": "x", "payload_b64": b64encode(payload + b"x").decode()}
        self.check_error(self.post("/v1/send", **members), 413, "body_too_large")
        self.check_error(self.ask("POST", "/v1/recv", bytes(100_000)), 413, "body_too_large")
        case.assertEqual(self.settle("ack", msg_id), 204)

    def test_malformed(self) -> None:
        good: dict[str, Any] = {"topic": "t", "idem_key": "k", "payload_b64": "aGk="}
        for change in (
            *(
                {name: value}
                for name in ("topic", "idem_key")
                for value in ("", "x" * 257, 1, None, "a\nb", "\x00")
            ),
            *({"payload_b64": value} for value in ("aGk", "a-k=", "é", 1, None, "aGk=\n")),
            *(
                {"attrs": value}
                for value in ("x", [], {"a": 1}, {"a": None}, {"a": "x" * 9000}, {"a": "\ud800"})
            ),
            {"attrs": {str(number): "" for number in range(33)}},
        ):
            self.check_error(self.post("/v1/send", **{**good, **change}), 400, "bad_request")
        for name, values in {
            "topic": ("", None, 1),
            "visibility_ms": (0, -1, 1.5, "1", True, None),
            "max_messages": (0, "1"),
            "max_bytes": (0, []),
            "wait_ms": (-1, {}),
        }.items():
            for value in values:
                self.check_error(self.post("/v1/recv", **{"topic": "t", name: value}), 400, "bad_request")
        for body in (b"", b"[]", b"{", b'"x"', b"\xff", b'{"topic": NaN}', b"[" * 60_000, b"1" * 5000):
            for path in ("/v1/send", "/v1/recv"):
                self.check_error(self.ask("POST", path, body), 400, "bad_request")
        for tenant in ("x", "0" * 31, "A" * 32):
            self.check_error(self.post("/v1/recv", tenant, topic="t"), 400, "bad_request")
