"""micronode call: what is asked of the client, what is printed, and how failures read."""

import io
import sys
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock

from micronode.cli.call import call, describe
from micronode.cli.exits import CommandError
from micronode.errors import ErrorCode
from micronode.oap.client import OAPError
from micronode.oap.client.greeter import GreetingTimeoutError
from micronode.oap.wire.profiles import Profile
from tests.cli.support import CommandTestCase, parsed

BUSY = OAPError.from_object(
    429,
    {
        "code": "busy",
        "message": "too many\ncalls",
        "retryable": True,
        "retry_after_ms": 250,
        "request_id": "5f3a",
    },
)


class StubResponse:
    """An answer whose body comes in the pieces given."""

    def __init__(self, head: dict[str, Any], *pieces: bytes, error: Exception | None = None) -> None:
        self.head = head
        self.pieces = pieces
        self.error = error
        self.cancelled = False

    def deliver(self, consumer: Any) -> Deferred[None]:
        for piece in self.pieces:
            consumer.write(piece)
        if self.error is not None:
            return fail(self.error)
        return Deferred(self._cancel) if getattr(consumer, "error", None) else succeed(None)

    def _cancel(self, _: object) -> None:
        self.cancelled = True


class StubClient:
    """Answers every call alike, and records it."""

    def __init__(self, answer: StubResponse | Exception) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []
        self.closed = False

    def call(self, profile: int, op: str, args: dict[str, Any], **rest: Any) -> Deferred[Any]:
        self.calls.append((profile, op, args, rest))
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def close(self) -> Deferred[None]:
        self.closed = True
        return Deferred()


class CallTests(CommandTestCase):
    def run_call(self, answer: StubResponse | Exception, *argv: str) -> Deferred[int]:
        """Make a call that is answered by *answer*; the goodbye never is, so it takes its two seconds."""
        self.client = StubClient(answer)
        clock = Clock()
        options = parsed(*(argv or ("oap://h:1", "search", "query")))
        done = Deferred.fromCoroutine(call(clock, options, lambda reactor, target: succeed(self.client)))  # type: ignore[arg-type]
        clock.advance(2.1)
        return done

    def test_prints_the_body(self) -> None:
        done = self.run_call(StubResponse({"status": 200}, b"\x00\xff", b"x"))
        self.assertEqual(self.successResultOf(done), 0)
        self.assertEqual(self.out.buffer.getvalue(), b"\x00\xffx")
        self.assertEqual(self.complained, "")
        self.assertTrue(self.client.closed)

    def test_asks_what_was_typed(self) -> None:
        self.run_call(
            StubResponse({}),
            *("oap://h:1", "feed", "send", "--args", '{"topic":"t"}'),
            *("--deadline", "250", "--idempotency-key", "k"),
        )
        self.assertEqual(
            self.client.calls,
            [
                (
                    Profile.FEED,
                    "send",
                    {"topic": "t"},
                    {"body": None, "deadline_ms": 250, "idempotency_key": "k"},
                )
            ],
        )

    def test_sends_a_file(self) -> None:
        name = self.mktemp()
        with open(name, "wb") as file:
            file.write(b"12345")
        self.run_call(StubResponse({}), "oap://h:1", "media", "put", "--body", name)
        self.assertEqual(self.client.calls[0][3]["body"], b"12345")

    def test_head_goes_to_standard_error(self) -> None:
        self.run_call(StubResponse({"status": 200}, b"{}"), "oap://h:1", "search", "query", "--head")
        self.assertEqual((self.complained, self.printed), ('{"status": 200}\n', "{}"))

    def test_head_of_an_answer_without_body_is_printed_once_in_any_case(self) -> None:
        for argv in ([], ["--head"]):
            self.err.truncate(self.err.seek(0))
            done = self.run_call(StubResponse({"length": 9}), "oap://h:1", "media", "head", *argv)
            self.assertEqual(self.successResultOf(done), 0)
            self.assertEqual((self.complained, self.printed), ('{"length": 9}\n', ""))

    def test_half_an_answer_has_no_head_to_show(self) -> None:
        self.successResultOf(self.run_call(StubResponse({"length": 9}, error=BUSY)))
        self.assertNotIn("length", self.complained)

    def test_last_line_is_ended_for_people_only(self) -> None:
        for kind, terminal, printed in [
            ("application/json", True, "{}\n"),
            ("text/plain; charset=utf-8", True, "{}\n"),
            ("application/octet-stream", True, "{}"),
            ("application/json", False, "{}"),
            (None, True, "{}"),
        ]:
            stream = io.BytesIO()
            stream.isatty = lambda terminal=terminal: terminal  # type: ignore[method-assign]
            self.patch(sys, "stdout", io.TextIOWrapper(stream))
            self.successResultOf(self.run_call(StubResponse({"content_type": kind}, b"{}")))
            self.assertEqual(stream.getvalue().decode(), printed, (kind, terminal))

    def test_failures_are_one_line(self) -> None:
        for answer in (BUSY, StubResponse({}, b"half", error=BUSY)):
            self.assertEqual(self.successResultOf(self.run_call(answer)), 1)
        line = "micronode: search.query: busy (429): too many calls; try again in 250 ms; request_id 5f3a\n"
        self.assertEqual(self.complained, line * 2)
        self.assertTrue(self.client.closed)

    def test_lost_connection(self) -> None:
        self.assertEqual(self.successResultOf(self.run_call(ConnectionLost())), 1)
        self.assertIn("search.query: the connection to oap://h:1 was lost", self.complained)

    def test_arguments_the_client_refuses(self) -> None:
        error = self.failureResultOf(
            self.run_call(ValueError("args are larger than 16 KiB")), CommandError
        ).value
        self.assertEqual((error.code, error.lines), (64, ("args are larger than 16 KiB",)))
        self.assertTrue(self.client.closed)

    def test_body_that_cannot_be_read_to_its_end(self) -> None:
        self.assertEqual(self.successResultOf(self.run_call(OSError(5, "Input/output error"))), 1)
        self.assertEqual(
            self.complained, "micronode: search.query: cannot read the body: Input/output error\n"
        )

    def test_owners_status_of_a_custom_facet(self) -> None:
        done = self.run_call(StubResponse({"status": 404}, b"no"))
        self.assertEqual((self.successResultOf(done), self.printed), (1, "no"))
        self.assertEqual(self.complained, "micronode: search.query: answered with status 404\n")

    def test_output_that_takes_no_more(self) -> None:
        for error, complaint in [
            (BrokenPipeError(32, "Broken pipe"), ""),
            (
                OSError(28, "No space left on device"),
                "micronode: cannot write the body: No space left on device\n",
            ),
        ]:
            self.patch(sys, "stdout", io.TextIOWrapper(_Full(error)))
            response = StubResponse({}, b"a", b"b")
            self.assertEqual(self.successResultOf(self.run_call(response)), 1)
            self.assertEqual((self.complained, response.cancelled), (complaint, True))

    def test_stream_prints_each_piece_at_once(self) -> None:
        seen: list[bytes] = []

        class Slow(io.BytesIO):
            def flush(self) -> None:
                seen.append(self.getvalue())

        for argv, flushes in ((["--stream"], [b"a", b"ab"]), ([], [b"ab"])):
            seen.clear()
            self.patch(sys, "stdout", io.TextIOWrapper(Slow()))
            done = self.run_call(StubResponse({}, b"a", b"b"), "oap://h:1", "media", "get", *argv)
            self.assertEqual((self.successResultOf(done), seen), (0, flushes))

    def test_no_end_in_time(self) -> None:
        self.client = StubClient(BUSY)
        never: Deferred[Any] = Deferred()
        self.client.call = lambda *_, **__: never  # type: ignore[method-assign]
        clock = Clock()
        options = parsed("oap://h:1", "search", "query", "--timeout", "1s")
        done = Deferred.fromCoroutine(call(clock, options, lambda *_: succeed(self.client)))  # type: ignore[arg-type]
        clock.advance(1)
        clock.advance(2.1)
        error = self.failureResultOf(done, CommandError).value
        self.assertEqual((error.code, error.lines), (1, ("no end within 1 s, the --timeout given",)))
        self.assertTrue(self.client.closed)

    def test_description_without_a_time(self) -> None:
        error = OAPError.from_object(404, {"code": "not_found", "message": "gone"})
        self.assertEqual(describe(error), "not_found (404): gone")

    def test_description_of_an_error_that_the_node_did_not_say(self) -> None:
        error = OAPError.from_code(ErrorCode.TIMEOUT, "late")
        self.assertEqual(describe(error), "timeout (408, found on this side): late")

    def test_description_commands_no_terminal(self) -> None:
        error = OAPError(404, "a\x1b[2J", "b\x9b", request_id="\x07", from_node=True)
        self.assertEqual(describe(error), "a [2J (404): b ; request_id  ")


class ConnectTests(CommandTestCase):
    def refused(self, error: Exception) -> CommandError:
        done = Deferred.fromCoroutine(
            call(Clock(), parsed("oap://h:1", "search", "query"), lambda *_: fail(error))
        )
        refusal: CommandError = self.failureResultOf(done, CommandError).value
        return refusal

    def test_no_connection(self) -> None:
        for error in (
            ConnectionRefusedError(),
            DNSLookupError("h"),
            ConnectionLost(),
            OSError(2, "no such file"),
        ):
            refusal = self.refused(error)
            self.assertEqual(refusal.code, 69)
            self.assertRegex(refusal.lines[0], r"\Acannot connect to oap://h:1: .+; is the node running")

    def test_refused_by_the_node(self) -> None:
        refusal = self.refused(OAPError.from_object(400, {"code": "bad_hello", "message": "no"}))
        self.assertEqual(refusal.code, 69)
        self.assertEqual(refusal.lines[0], "no OAP/1 connection to oap://h:1: bad_hello (400): no")

    def test_no_greeting(self) -> None:
        refusal = self.refused(GreetingTimeoutError("connected to h, but nothing was answered"))
        self.assertEqual(refusal.code, 69)
        self.assertEqual(refusal.lines[0], "no OAP/1 connection: connected to h, but nothing was answered")

    def test_malformed_target(self) -> None:
        def connect(*_: object) -> Any:
            raise ValueError("'x' is no target")

        done = Deferred.fromCoroutine(call(Clock(), parsed("x", "search", "query"), connect))
        self.assertEqual(self.failureResultOf(done, CommandError).value.code, 64)


class _Full(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: object) -> int:
        raise self.error
