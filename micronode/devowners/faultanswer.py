"""What a fault does to an answer: the owner's body goes in at one end, and comes out as the fault lets it.

Each fault is a coroutine over an answer, in the table at the end. Those of the body pass an answer by that
has none.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web import http

from micronode.devowners.faultspec import Fault
from micronode.devowners.pipes import Inlet, Outlet

#: Bytes written between two looks whether the caller still reads.
_PIECE_BYTES: Final = 65_536
#: What was written before a reset gets this long to leave.
_RESET_S: Final = 0.05
#: By how much Content-Length is wrong.
_OFF_BYTES: Final = 10
_CID: Final = re.compile(rb"(b3:[0-9a-f]{63})([0-9a-f])")


class FaultyAnswer:
    """An answer on its way through a fault.

    :param request: an ``OwnerRequest``; its own methods lead back here, so ``http.Request``'s are called.
    :ivar inlet: takes the body from the owner.
    :ivar length: of the whole body.
    """

    def __init__(self, request: Any, fault: Fault) -> None:
        self.inlet = Inlet()
        self.fault = fault
        self.length = 0
        self._request = request
        self._outlet = Outlet()
        self._rest = b""
        self._passing: Deferred[None] | None = None

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON."""
        return bool(self._request.responseHeaders.getRawHeaders(b"content-type") == [b"application/json"])

    def begin(self) -> None:
        """Start: the owner has set status and fields."""
        # Once the owner's piece has been put; it must not be read before its end can be seen, either.
        self._passing = self._wait(0)
        self._passing.addCallback(lambda _: Deferred.fromCoroutine(self._pass())).addErrback(_left)

    def abandon(self) -> None:
        """The caller has gone."""
        if self._passing is not None:
            self._passing.cancel()

    async def _pass(self) -> None:
        request = self._request
        http.Request.registerProducer(request, self._outlet, True)
        bodiless = request.method == b"HEAD" or request.code in http.NO_BODY_CODES
        (length,) = request.responseHeaders.getRawHeaders(b"content-length", [b"0"])
        self.length = 0 if bodiless else int(length)
        if not self.length and self.fault.kind not in ("reset", "stall"):
            await self.rest()
            self.finish()
        else:
            await DEEDS[self.fault.kind](self)

    async def pieces(self, size: int | None = None) -> list[bytes]:
        """Return the next *size* bytes of the body, or all; for small ones."""
        found = []
        while (size is None or size) and (data := await self.read(size)):
            found.append(data)
            size = None if size is None else size - len(data)
        return found

    async def read(self, most: int | None = None) -> bytes:
        """Return the next piece of the body, of up to *most* bytes; empty at its end."""
        data = self._rest or await self.inlet.read()
        cut = len(data) if most is None else most
        self._rest = data[cut:]
        return data[:cut]

    async def rest(self, size: int | None = None) -> None:
        """Pass *size* bytes of the body on, or all that is left."""
        while (size is None or size) and (data := await self.read(size)):
            await self.write(data)
            size = None if size is None else size - len(data)

    async def write(self, data: bytes) -> None:
        """Send *data*, with the head before it, when the caller reads."""
        await self._outlet.room()
        http.Request.write(self._request, data)

    async def write_raw(self, data: bytes) -> None:
        """Send bytes as they are, behind what was sent; no last chunk follows them."""
        await self._outlet.room()
        self._request.chunked = 0
        self._request.channel.write(data)

    async def wait(self, seconds: float | None) -> None:
        """Do nothing, for ever where *seconds* is None."""
        if seconds is None:
            await Deferred()
        else:
            await self._wait(seconds)

    def _wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self._request.channel.factory.reactor, seconds)

    def say_length(self, length: int | None) -> None:
        """Say another length of the body than it has; None: say none, so that it goes out in chunks."""
        if length is None:
            self._request.responseHeaders.removeHeader(b"content-length")
        else:
            self._request.set_header(b"Content-Length", b"%d" % length)

    def finish(self, *, close: bool = False) -> None:
        """End the answer, and with *close* the connection."""
        request = self._request
        http.Request.unregisterProducer(request)
        if close:
            request.channel.persistent = 0
        http.Request.finish(request)

    def reset(self) -> None:
        """Cut the connection."""
        self._request.channel.abort()


def _left(failure: Failure) -> None:
    failure.trap(CancelledError)


async def _reset(answer: FaultyAnswer) -> None:
    if answer.fault.word == "body":
        await answer.rest(answer.length // 2)
        await answer.wait(_RESET_S)
    answer.reset()


async def _stall(answer: FaultyAnswer) -> None:
    await answer.wait(answer.fault.amount)
    await answer.rest()
    answer.finish()


async def _stall_body(answer: FaultyAnswer) -> None:
    await answer.rest((answer.length + 1) // 2)
    await answer.wait(answer.fault.amount)
    await answer.rest()
    answer.finish()


async def _drip(answer: FaultyAnswer) -> None:
    while data := await answer.read(1):
        await answer.write(data)
        await answer.wait(answer.fault.amount)
    answer.finish()


async def _oversize(answer: FaultyAnswer) -> None:
    left = int(answer.fault.amount or 0)
    answer.say_length(answer.length + left)
    await answer.rest()
    while left:
        size = min(left, _PIECE_BYTES)
        await answer.write(b" " * size)
        left -= size
    answer.finish()


async def _wrong_length(answer: FaultyAnswer) -> None:
    less = answer.fault.word == "long"
    answer.say_length(max(0, answer.length - _OFF_BYTES) if less else answer.length + _OFF_BYTES)
    await answer.rest()
    answer.finish(close=True)


async def _bad_chunk(answer: FaultyAnswer) -> None:
    answer.say_length(None)
    await answer.rest((answer.length + 1) // 2)
    await answer.write_raw(b"nonsense\r\n")
    answer.finish(close=True)


async def _wrong_digest(answer: FaultyAnswer) -> None:
    if answer.is_json:
        spoilt = _CID.sub(_other_digit, b"".join(await answer.pieces()))
        await answer.write(spoilt)
    else:
        await answer.rest(answer.length - 1)
        (last,) = await answer.pieces(1) or [b"?"]
        await answer.write(bytes([last[0] ^ 1]))
    answer.finish()


async def _bad_json(answer: FaultyAnswer) -> None:
    if answer.is_json:
        half = b"".join(await answer.pieces())[: answer.length // 2]
        answer.say_length(len(half))
        await answer.write(half)
    else:
        await answer.rest()
    answer.finish()


def _other_digit(match: re.Match[bytes]) -> bytes:
    return match[1] + (b"0" if match[2] != b"0" else b"1")


#: The faults of answers; refusals are made elsewhere.
DEEDS: Final[Mapping[str, Callable[[FaultyAnswer], Awaitable[None]]]] = {
    "reset": _reset,
    "stall": _stall,
    "stall-body": _stall_body,
    "drip": _drip,
    "oversize": _oversize,
    "wrong-length": _wrong_length,
    "bad-chunk": _bad_chunk,
    "wrong-digest": _wrong_digest,
    "bad-json": _bad_json,
}
