"""The overlay owner over HTTP: ``GET|HEAD /o/{cid}``, from the first peer that has the object.

An object is passed on while it comes, and never kept. A whole one is verified: up to 64 KiB before its first
byte leaves, so that another peer can be asked; of a longer one the last piece is held back until the digest
matches, else the connection is cut. A range is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from blake3 import blake3
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.log import JSONLog
from micronode.devowners.peers import VIA, Peer, PeerAnswer, PeerError
from micronode.devowners.pipes import Outlet
from micronode.devowners.request import OwnerRequest
from micronode.devowners.storage import DEFAULT_CONTENT_TYPE, is_cid
from micronode.errors import ErrorCode, NodeError

#: Objects up to here are verified before they are passed on.
HELD_BYTES: Final = 65_536
#: Objects that are being fetched at a time.
MAX_FETCHES: Final = 64
#: Fields of a request that a peer is asked with, too.
_ASKED: Final = (b"range", b"if-range", b"if-none-match")
#: Answers that are the object's; after any other one the next peer is asked.
_STATUSES: Final = (200, 206, 304, 416)


class OverlayOwner(Owner):
    """Fetches from *peers*, which are asked in their order."""

    name = "overlay"

    def __init__(self, peers: Sequence[Peer], log: JSONLog) -> None:
        super().__init__()
        self.peers = peers
        self.log = log
        self.fetches = 0

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for ``/o/{cid}``."""
        if name != "o" or len(keys) != 1:
            raise NodeError(ErrorCode.NOT_FOUND, "the overlay has no such path")
        request.allow(b"GET", b"HEAD")
        if not is_cid(keys[0]):
            raise NodeError(ErrorCode.BAD_REQUEST, "an address is b3: and 64 lower-case hex digits")
        if VIA.decode() in (request.field(b"via") or ""):
            raise NodeError(ErrorCode.NOT_FOUND, "an overlay asks storage, not another overlay")
        if self.fetches >= MAX_FETCHES:
            raise NodeError(ErrorCode.BUSY, f"{MAX_FETCHES} objects are being fetched already")
        return _Fetch(request, self, keys[0])


class _Fetch(Exchange):
    route = "fetch"

    def __init__(self, request: OwnerRequest, owner: OverlayOwner, cid: str) -> None:
        super().__init__(request)
        self._owner = owner
        self._cid = cid
        self._fetching: Deferred[None] | None = None

    def answer(self) -> Deferred[None]:
        self._owner.fetches += 1
        self._fetching = Deferred.fromCoroutine(self._answer())
        return self._fetching.addErrback(_left)

    def lost(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()

    async def _answer(self) -> None:
        try:
            for peer in self._owner.peers:
                if await self._fetch(peer):
                    return
        finally:
            self._owner.fetches -= 1
        raise NodeError(ErrorCode.NOT_FOUND, "no peer has this object")

    async def _fetch(self, peer: Peer) -> bool:
        """Answer with what *peer* has. :return: whether that was anything."""
        fields = {name: value for name in _ASKED if (value := self.request.getHeader(name)) is not None}
        try:
            answer = await peer.ask(self.request.method, self._cid, fields)
            try:
                if answer.status not in _STATUSES:
                    if answer.status != 404:
                        raise PeerError(f"status {answer.status}")
                    return False
                await self._pass_on(answer)
            finally:
                answer.drop()
        except PeerError as error:
            if self.request.is_over:
                # It failed because the caller left, and nobody else is to be asked for him.
                return True
            self._owner.log.warn("peer_failed", peer=str(peer.url), reason=str(error))
            if self.request.has_begun:
                raise NodeError(ErrorCode.BAD_GATEWAY, "the peer broke off") from None
            return False
        return True

    async def _pass_on(self, answer: PeerAnswer) -> None:
        """Send the answer.

        :raises PeerError: it is broken or wrong. The caller can still be told if nothing was sent.
        """
        request = self.request
        if answer.status == 416:
            request.set_header(b"Content-Range", answer.field(b"content-range") or b"bytes */*")
            raise NodeError(ErrorCode.RANGE_NOT_SATISFIABLE, "the object is shorter")
        if request.method == b"HEAD" or answer.status == 304:
            self._begin(answer)
            request.end()
            return
        is_whole = answer.status == 200
        held = b""
        hasher = blake3()
        if is_whole and answer.length is not None and answer.length <= HELD_BYTES:
            while data := await answer.read():
                held += data
            hasher.update(held)
            self._check(hasher.digest())
            self._begin(answer)
        else:
            self._begin(answer)
            outlet = Outlet()
            request.feed_from(outlet)
            try:
                while data := await answer.read():
                    hasher.update(data)
                    await outlet.room()
                    if held:
                        request.send(held)
                    held = data
            finally:
                if not request.is_over:
                    request.end_feed()
            if is_whole:
                self._check(hasher.digest())
        if held:
            request.send(held)
        request.end()

    def _check(self, digest: bytes) -> None:
        if digest.hex() != self._cid.removeprefix("b3:"):
            raise PeerError("its bytes do not match the address")

    def _begin(self, answer: PeerAnswer) -> None:
        """Set status and fields; they leave with the first bytes."""
        request = self.request
        request.setResponseCode(answer.status)
        request.set_header(b"ETag", f'"{self._cid.removeprefix("b3:")}"'.encode())
        request.set_header(b"Accept-Ranges", b"bytes")
        if answer.status == 206:
            request.set_header(b"Content-Range", answer.field(b"content-range") or b"bytes */*")
        if answer.status in (200, 206):
            # Of a HEAD it stands among the fields; there is no body that it could be the length of.
            is_head = request.method == b"HEAD"
            length = answer.field(b"content-length") if is_head else answer.length_field
            if length is not None:
                request.set_header(b"Content-Length", length)
            content_type = answer.field(b"content-type") or DEFAULT_CONTENT_TYPE.encode()
            request.set_header(b"Content-Type", content_type)


def _left(failure: Failure) -> None:
    failure.trap(CancelledError)
