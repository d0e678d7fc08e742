"""The connections of chaos: each call ends once, with what was said, whatever becomes of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import END, EVENT, RESP, START, Control, encode_frame
from tests.chaos.lines import Ended, HttpLine, OapLine
from tests.support.matrixcalls import CALLS

APP = CALLS["search"].profile
REFUSED = b'{"code":"busy","message":"","retryable":true,"retry_after_ms":1500}'


class SpyTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


def goaway(last_corr_id: int) -> bytes:
    said = b'{"retry_after_ms":2000,"last_corr_id":"%d"}' % last_corr_id
    return encode_frame(EVENT, Control.GOAWAY, 0, 0, said)


def connected(line: Any) -> Any:
    line.connection_made(SpyTransport())
    return line


class HttpLineTests(SynchronousTestCase):
    def ended(self, *pieces: bytes, lost: bool = False) -> tuple[HttpLine, Ended]:
        """Make a call that is answered with *pieces*."""

        async def run() -> tuple[HttpLine, Ended]:
            line = connected(HttpLine())
            ending = line.call(line.write(CALLS["search"]))
            for piece in pieces:
                line.data_received(piece)
            if lost:
                line.connection_lost(None)
            return line, await asyncio.wait_for(ending, 5)

        return asyncio.run(run())

    def test_an_answer_byte_by_byte(self) -> None:
        """It ends with its last byte."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        line, ended = self.ended(*(answer[at : at + 1] for at in range(len(answer))))
        self.assertEqual(ended, Ended(200, body=b"{}"))
        self.assertEqual((line.usable, line.busy), (True, 0))

    def test_a_refusal_that_is_the_last(self) -> None:
        """Its code and its time are told, and the line is closed."""
        head = b"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        line, ended = self.ended(head % len(REFUSED) + REFUSED)
        self.assertEqual((ended.status, ended.code, ended.retry_after_s), (429, "busy", 2))
        self.assertEqual((line.usable, line.transport.closed), (False, True))

    def test_no_whole_answer(self) -> None:
        """It is lost: cut, or closed before it began."""
        self.assertEqual(self.ended(lost=True)[1], Ended(lost="closed"))
        cut = self.ended(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", lost=True)[1]
        self.assertEqual(cut, Ended(lost="cut"))


class OapLineTests(SynchronousTestCase):
    def run_with(self, calls: int, then: Callable[[OapLine], None]) -> tuple[OapLine, list[Ended]]:
        """Make *calls* calls, do *then*, and return how they ended."""

        async def run() -> tuple[OapLine, list[Ended]]:
            line = connected(OapLine())
            endings = [line.call(line.write(CALLS["search"])) for _ in range(calls)]
            then(line)
            return line, list(await asyncio.wait_for(asyncio.gather(*endings), 5))

        return asyncio.run(run())

    def test_answers_among_each_other(self) -> None:
        """Each goes to its call, however they come."""
        frames = (
            encode_frame(RESP | START, 200, APP, 2, b'{"status":200}')
            + encode_frame(RESP | END, 429, APP, 1, REFUSED)
            + encode_frame(RESP, 206, APP, 2, b"on")
            + encode_frame(RESP | END, 200, APP, 2, b"e")
        )

        def then(line: OapLine) -> None:
            for at in range(len(frames)):
                line.data_received(frames[at : at + 1])

        line, (first, second) = self.run_with(2, then)
        self.assertEqual((first.status, first.code, first.retry_after_s), (429, "busy", 1.5))
        self.assertEqual(second, Ended(200, body=b"one"))
        self.assertEqual(line.busy, 0)

    def test_goaway(self) -> None:
        """What is open is awaited, then the line is closed."""

        def then(line: OapLine) -> None:
            line.data_received(goaway(1))
            self.assertEqual((line.usable, line.transport.closed), (False, False))
            line.data_received(encode_frame(RESP | START | END, 200, APP, 1, b'{"status":200}'))

        line, (ended,) = self.run_with(1, then)
        self.assertEqual(ended, Ended(200))
        self.assertTrue(line.transport.closed)

    def test_calls_that_cross_goaway(self) -> None:
        """They are refused by it, as their numbers say; one before them is lost without an answer."""

        def then(line: OapLine) -> None:
            line.data_received(goaway(1))
            line.connection_lost(None)

        _, ended = self.run_with(3, then)
        self.assertEqual(ended, [Ended(lost="closed"), *[Ended(503, "draining", 2.0)] * 2])

    def test_an_error_after_the_head(self) -> None:
        """The answer was cut."""

        def then(line: OapLine) -> None:
            line.data_received(encode_frame(RESP | START, 200, APP, 1, b'{"status":200}'))
            line.data_received(encode_frame(RESP | END, 504, APP, 1, b'{"code":"owner_timeout"}'))

        _, (ended,) = self.run_with(1, then)
        self.assertEqual((ended.lost, ended.code), ("cut", "owner_timeout"))

    def test_a_connection_that_ends(self) -> None:
        """All that is open is lost."""
        _, ended = self.run_with(2, lambda line: line.connection_lost(None))
        self.assertEqual(ended, [Ended(lost="closed")] * 2)
