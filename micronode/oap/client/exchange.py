"""One call of a client: its request's body on the way out, its answer on the way in."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer

from micronode.oap.client.body import RequestBody, Way
from micronode.oap.client.errors import OAPError
from micronode.oap.client.inbox import Inbox
from micronode.oap.client.response import OAPResponse
from micronode.oap.wire.errors import ErrorCode


class Line(Way, Protocol):
    """The connection, as far as a call needs it."""

    @property
    def windowed(self) -> bool:
        """Whether each stream has windows."""

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of an answer are held no more."""

    def hold(self, exchange: Exchange) -> None:
        """Read nothing until *exchange* lets go."""

    def let_go(self, exchange: Exchange) -> None:
        """Read again, if no other call holds on."""

    def cancel(self, exchange: Exchange) -> None:
        """Tell the node that a call is given up, and forget it."""


class Exchange:
    """One call.

    :ivar answered: fires with the :class:`OAPResponse` at its head; fails with :class:`OAPError`, or
        with what the body's producer failed with. Cancelling it cancels the call.
    :ivar body: the request's body; None where there is none.
    :ivar inbox: takes the messages; None where the call is no subscription.
    """

    def __init__(self, line: Line, corr_id: int, *, asking: bool, inbox: Inbox | None = None) -> None:
        self.corr_id = corr_id
        self.answered: Deferred[OAPResponse] = Deferred(lambda _: self.cancel())
        self.response: OAPResponse | None = None
        self.body = RequestBody(line, corr_id, self._broke) if asking else None
        self.inbox = inbox
        if inbox is not None:
            inbox.giver = self
        self._line = line

    def send(self, body: IBodyProducer | None) -> None:
        """Begin to send the request's body, where there is one."""
        if body is not None and self.body is not None:
            self.body.produce(body)

    def _broke(self, failure: Failure | None) -> None:
        """Cancel the call: the request's body will never be whole."""
        error = OAPError.from_code(ErrorCode.CANCELLED, "the request's body broke off")
        self.cancel(error)
        if not self.answered.called:
            self.answered.errback(failure or error)
        elif self.response is not None:
            self.response.end(error)

    # The answer

    def began(self, head: dict[str, Any]) -> None:
        """Hand the response over."""
        self.response = OAPResponse(self, head)
        self.answered.callback(self.response)

    def received(self, data: bytes) -> None:
        """Take body bytes of the answer."""
        if self.inbox is not None and data:
            self.give_up(OAPError.from_code(ErrorCode.BAD_GATEWAY, "the answer is no subscription"))
        elif self.response is not None:
            self.response.receive(data)

    def messaged(self, data: bytes) -> None:
        """Take a message of a subscription."""
        if self.inbox is not None:
            self.inbox.receive(data)

    def ended(self, error: OAPError | None) -> None:
        """Take note of the terminal frame, or of the connection's end. A body still being sent stops."""
        self._stop_body(error)
        if self.response is not None:
            self.response.end(error)
        elif not self.answered.called:
            self.answered.errback(error or OAPError.from_code(ErrorCode.BAD_GATEWAY, "no answer"))
        if self.inbox is not None:
            self.inbox.end(error)

    def cancel(self, error: OAPError | None = None) -> None:
        """Tell the node that the call is given up."""
        self._stop_body(error or OAPError.from_code(ErrorCode.CANCELLED, "cancelled by the caller"))
        self._line.cancel(self)

    def _stop_body(self, error: OAPError | None) -> None:
        if self.body is not None:
            self.body.stop(None if error is None else Failure(error))

    # Source, for what the answer's body is held by

    def taken(self, size: int) -> None:
        """Note that *size* bytes are held no more."""
        self._line.taken(self.corr_id, size)

    def hold(self) -> None:
        """Stop the connection, where the stream has no window that stops it alone."""
        if not self._line.windowed:
            self._line.hold(self)

    def let_go(self) -> None:
        """See :meth:`hold`."""
        self._line.let_go(self)

    def give_up(self, error: OAPError | None = None) -> None:
        """Cancel the call, and fail what waits for it."""
        error = error or OAPError.from_code(ErrorCode.CANCELLED, "given up by the caller")
        self.cancel(error)
        self.ended(error)
