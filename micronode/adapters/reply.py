"""An owner's response as facets see it: the head is here, the body is still on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from micronode.adapters.collector import Collector
from micronode.adapters.lease import Lease
from micronode.adapters.relay import HOLD_BYTES, Check, Relay
from micronode.adapters.response import OwnerResponse
from micronode.adapters.whole import relay_whole
from micronode.calls.call import ResponseHead
from micronode.interfaces import IOwnerReply, IReplyBody, IResponseSink

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
#: An error body up to this size is read and dropped, which keeps the connection; within this time.
DISCARD_BYTES: Final = 8_192
DISCARD_S: Final = 1.0


@implementer(IOwnerReply)
class OwnerReply:
    """See :class:`~micronode.interfaces.IOwnerReply`.

    A reply whose body nobody asks for is aborted after the lease's idle time.

    :param empty: there is no body, whatever its fields say (HEAD, 204, 304).
    :param mismatches: the counter of bodies that did not match their digest.
    """

    def __init__(self, lease: Lease, response: IResponse, *, empty: bool, mismatches: Any) -> None:
        self.status: int = response.code
        self._lease = lease
        self._response = cast(OwnerResponse, response)
        self._mismatches = mismatches
        self._taken = False
        #: How its body is passed on: what its BLAKE3 digest must be, whether its beginning may wait, and
        #: whether it must be a JSON object.
        self._digest: bytes | None = None
        self._hold = True
        self._is_json = False
        self.length: int | None = None
        if empty:
            said = self.header("content-length")
            self.length = int(said) if said is not None and _DIGITS.fullmatch(said) else None
            lease.end(lease.outcome)
        else:
            self.length = None if response.length is UNKNOWN_LENGTH else response.length
            lease.watch(lease.idle_s, self.abort)
        self._empty = empty

    def header(self, name: str) -> str | None:
        """Return the value of field *name*; None if it is not there, or holds more than visible ASCII."""
        return self._response.head.text(name)

    def headers(self) -> list[tuple[str, str]]:
        """Return every end-to-end field; see :class:`~micronode.interfaces.IOwnerReply`."""
        return [
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in self._response.head.fields
        ]

    def read(
        self,
        max_bytes: int,
        *,
        within_s: float | None = None,
        check: Callable[[bytes], object] | None = None,
    ) -> Deferred[bytes]:
        """Collect the body; see :class:`~micronode.interfaces.IOwnerReply`."""
        if self._empty:
            return succeed(b"").addCallback(_checked, check)
        collector = Collector(self._take(), max_bytes, within_s, check)
        collector.read_from(self._response)
        return collector.done

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """Pass the body on; see :class:`~micronode.interfaces.IReplyBody`.

        Unchecked, unless one of :meth:`checked` and :meth:`as_json` was asked for before.
        """
        if self._empty:
            sink.start(head)
            return sink.finish()
        lease, digest = self._take(), self._digest
        if digest is None and lease.exchange is not None and not lease.exchange.has_surplus:
            data = self._response.whole(HOLD_BYTES)
            if data is not None:
                return relay_whole(lease, data, head, sink, is_json=self._is_json)
        check = None if digest is None else Check(digest, self._mismatches)
        relay = Relay(lease, head, sink, check, hold=self._hold, is_json=self._is_json)
        relay.read_from(self._response)
        return relay.done

    def checked(self, digest: bytes) -> IReplyBody:
        """Return this reply's body as one that must match *digest* (BLAKE3, 32 bytes)."""
        self._digest = digest
        return self

    def streamed(self) -> IReplyBody:
        """Return this reply's body as one of which nothing is held back."""
        self._hold = False
        return self

    def as_json(self) -> IReplyBody:
        """Return this reply's body as one that must be a JSON object; see IOwnerReply."""
        self._is_json = True
        return self

    def abort(self) -> None:
        """Throw the body away and close its connection. Idempotent, and harmless once it was read."""
        self._lease.abort()

    def discard(self) -> None:
        """Throw away a body nobody wants, an error's: a small one is read, so that the connection lives."""
        if self._taken or self._empty:
            return
        if self.length is not None and self.length > DISCARD_BYTES:
            self.abort()
            return
        within_s = min(self._lease.idle_s, DISCARD_S)
        self.read(DISCARD_BYTES, within_s=within_s).addErrback(lambda _: None)

    def _take(self) -> Lease:
        if self._taken:
            raise RuntimeError("the body of an owner's reply is read once")
        self._taken = True
        return self._lease


def _checked(data: bytes, check: Callable[[bytes], object] | None) -> bytes:
    if check is not None:
        check(data)
    return data
