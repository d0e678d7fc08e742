"""Tests for :mod:`micronode.devowners.request`, ``exchange`` and ``channel``: what all owners share."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.request import OwnerRequest
from micronode.errors import ErrorCode, NodeError
from tests.devowners.support import MemoryCaller


class SpyExchange(Exchange):
    """Keeps its body; answers at once, later, or not at all."""

    route = "spy"
    max_body_bytes = 100

    def __init__(self, request: OwnerRequest, keys: list[str]) -> None:
        super().__init__(request)
        self.keys = keys
        self.received = b""
        self.lost_count = 0
        self.later: Deferred[None] | None = None

    def body(self, data: bytes) -> None:
        if data == b"explode":
            raise RuntimeError("secret")
        self.received += data

    def answer(self) -> Deferred[None] | None:
        what = self.keys[0] if self.keys else ""
        if what == "raise":
            raise KeyError("secret")
        if what == "refuse":
            raise NodeError(ErrorCode.NOT_FOUND, "not here")
        if what == "later":
            self.later = Deferred()
            return self.later
        self.request.reply({"keys": self.keys, "size": len(self.received)})
        return None

    def lost(self) -> None:
        self.lost_count += 1


class SpyOwner(Owner):
    """Routes ``/spy`` and remembers the exchanges."""

    name = "spy"

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = True
        self.exchanges: list[SpyExchange] = []

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        if name != "spy":
            raise NodeError(ErrorCode.NOT_FOUND, "no such path")
        request.allow(b"GET", b"POST")
        if keys == ["broken"]:
            raise RuntimeError("secret")
        self.exchanges.append(SpyExchange(request, keys))
        return self.exchanges[-1]


class OwnerCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.owner = SpyOwner()
        self.caller = MemoryCaller(self.owner)
        self.addCleanup(self.caller.hang_up)

    @property
    def exchange(self) -> SpyExchange:
        return self.owner.exchanges[-1]


class PathTests(OwnerCase):
    def test_a_key_may_hold_a_slash(self) -> None:
        answer = self.caller.ask("GET", "/spy/a%2Fb%20%C3%A9?x=%C3%A9")
        self.assertEqual((answer.status, answer.json["keys"]), (200, ["a/b é"]))

    def test_one_connection_serves_many(self) -> None:
        for number in range(3):
            self.assertEqual(self.caller.ask("GET", f"/spy/{number}").json["keys"], [str(number)])
        self.assertFalse(self.caller.transport.disconnecting)

    def test_refusals_are_json_and_keep_the_connection(self) -> None:
        for path, status, code in (
            ("/nope", 404, "not_found"),
            ("/", 404, "not_found"),
            ("/spy/%ff", 400, "bad_request"),
            ("*", 400, "bad_request"),
            ("http://owner/spy", 400, "bad_request"),
            ("/spy/refuse", 404, "not_found"),
            ("/spy/broken", 500, "internal"),
            ("/spy/raise", 500, "internal"),
        ):
            answer = self.caller.ask("GET", path)
            self.assertEqual((answer.status, answer.json["code"]), (status, code), path)
            self.assertEqual(list(answer.json), ["code", "message"])
            self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(self.caller.ask("GET", "/spy").status, 200)

    def test_methods(self) -> None:
        answer = self.caller.ask("DELETE", "/spy")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "get, post"))

    def test_a_long_path_is_no_problem(self) -> None:
        self.assertEqual(self.caller.ask("GET", "/spy/" + "%F0%9F%98%80" * 4096).status, 200)

    def test_garbage_gets_a_bare_400(self) -> None:
        self.caller.send(b"\x00\x01\x02\r\n\r\n")
        self.assertEqual(self.caller.transport.value(), b"HTTP/1.1 400 Bad Request\r\n\r\n")


class HealthTests(OwnerCase):
    def test_ready(self) -> None:
        self.assertEqual(self.caller.ask("GET", "/healthz").json, {"ok": True})
        self.assertEqual(self.caller.ask("GET", "/readyz").json, {"ready": True})

    def test_loading(self) -> None:
        self.owner.is_ready = False
        self.assertEqual(self.caller.ask("GET", "/healthz").status, 200)
        answer = self.caller.ask("GET", "/readyz")
        self.assertEqual(
            (answer.status, answer.json, answer.headers["retry-after"]), (503, {"ready": False}, "1")
        )
        answer = self.caller.ask("GET", "/spy")
        self.assertEqual(
            (answer.status, answer.json["code"], answer.headers["retry-after"]), (503, "not_ready", "1")
        )

    def test_head(self) -> None:
        answer = self.caller.ask("HEAD", "/healthz")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "12", b""))


class BodyTests(OwnerCase):
    def test_a_body_in_pieces(self) -> None:
        self.caller.send(b"POST /spy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertEqual(self.exchange.received, b"abc")
        self.assertEqual(self.caller.transport.value(), b"")
        self.caller.send(b"2\r\nde\r\n0\r\n\r\n")
        self.assertEqual(self.caller.answer().json["size"], 5)

    def test_a_body_too_long_is_refused_from_the_head(self) -> None:
        self.caller.send(
            b"POST /spy HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n"
        )
        answer = self.caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (413, "body_too_large"))
        self.assertEqual(answer.headers["connection"], "close")
        self.assertEqual(self.exchange.lost_count, 1)
        self.assertFalse(self.caller.transport.disconnecting)
        # The rest of the body is no request, and is not kept.
        self.caller.send(b"GET /spy HTTP/1.1\r\nHost: x\r\n\r\n".ljust(101, b"x"))
        self.assertEqual(self.caller.transport.value(), b"")
        self.assertTrue(self.caller.transport.disconnecting)
        self.assertEqual(len(self.owner.exchanges), 1)

    def test_a_chunked_body_is_refused_when_it_grows_too_long(self) -> None:
        head = b"POST /spy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.caller.send(head + b"64\r\n" + bytes(100) + b"\r\n1\r\nx\r\n")
        self.assertEqual(self.caller.answer().status, 413)
        self.assertEqual(self.exchange.received, bytes(100))
        self.assertEqual(self.exchange.lost_count, 1)

    def test_a_refused_caller_who_goes_on_sending_is_cut_off(self) -> None:
        self.caller.send(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        self.assertEqual(self.caller.answer().status, 404)
        for _ in range(17):
            self.assertFalse(self.caller.transport.disconnecting)
            self.caller.send(bytes(65536))
        self.assertTrue(self.caller.transport.disconnecting)

    def test_a_refused_caller_who_lingers_is_cut_off(self) -> None:
        self.caller.send(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        self.caller.clock.advance(0.9)
        self.assertFalse(self.caller.transport.disconnecting)
        self.caller.clock.advance(0.2)
        self.assertTrue(self.caller.transport.disconnecting)

    def test_a_defect_while_the_body_arrives(self) -> None:
        self.caller.send(b"POST /spy HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n")
        self.caller.send(b"explode")
        self.assertEqual(self.caller.answer().status, 500)
        self.assertEqual(self.exchange.lost_count, 1)

    def test_a_caller_who_leaves_early(self) -> None:
        self.caller.send(b"POST /spy HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc")
        self.caller.hang_up()
        self.assertEqual(self.exchange.lost_count, 1)
        self.assertEqual(self.caller.clock.getDelayedCalls(), [])


class LaterTests(OwnerCase):
    def begin(self) -> Deferred[None]:
        self.caller.send(b"GET /spy/later HTTP/1.1\r\nHost: x\r\n\r\n")
        later = self.exchange.later
        assert later is not None
        return later

    def test_a_late_refusal(self) -> None:
        self.begin().errback(NodeError(ErrorCode.NOT_FOUND, "after all"))
        self.assertEqual(self.caller.answer().json, {"code": "not_found", "message": "after all"})

    def test_a_late_answer_to_nobody(self) -> None:
        later = self.begin()
        self.caller.hang_up()
        self.exchange.request.reply({})
        later.errback(RuntimeError("nobody cares"))
        self.assertEqual(self.exchange.lost_count, 1)
        self.assertEqual(self.caller.transport.value(), b"")
        self.assertEqual(self.caller.log_lines(), [])

    def test_a_failure_within_the_answer_cuts_the_connection(self) -> None:
        later = self.begin()
        self.exchange.request.send(b"half")
        later.errback(RuntimeError("secret"))
        self.assertTrue(self.caller.transport.disconnected)


class LogTests(OwnerCase):
    def test_no_word_of_what_was_asked(self) -> None:
        self.caller.ask("GET", "/spy/secret?q=secret", "X-Secret: secret")
        self.caller.ask("POST", "/spy", body=b"secret")
        self.caller.ask("GET", "/secret")
        self.caller.ask("GET", "/spy/raise")
        lines = self.caller.log_lines()
        self.assertEqual(
            [(line["event"], line.get("route"), line.get("status")) for line in lines],
            [
                ("request", "spy", 200),
                ("request", "spy", 200),
                ("request", "other", 404),
                ("defect", None, None),
                ("request", "spy", 500),
            ],
        )
        self.assertNotIn("secret", self.caller.log.getvalue())


class IdleTests(OwnerCase):
    def test_a_silent_connection_is_closed(self) -> None:
        self.caller.clock.advance(119)
        self.assertFalse(self.caller.transport.disconnecting)
        self.caller.clock.advance(2)
        self.assertTrue(self.caller.transport.disconnecting)
