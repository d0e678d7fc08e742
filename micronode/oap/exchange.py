"""One call of a client: its request's body on the way out, its answer on the way in."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.oap.answer import OAPError, OAPResponse, Source
from micronode.oap.wire.errors import ErrorCode


class Line(Source, Protocol):
    """The connection, as far as a call needs it."""

    def send_body(self, corr_id: int, data: bytes) -> None:
        """Send body bytes of an open call."""

    def send_end(self, corr_id: int) -> None:
        """End the request of an open call."""

    def cancel(self, exchange: Exchange) -> None:
        """Tell the node that a call is given up, and forget it."""


@implementer(IConsumer)
class Exchange:
    """One call: its request's body on the way out, its answer on the way in.

    :ivar answered: fires with the :class:`OAPResponse` at its head; fails with :class:`OAPError`, or
        with what the body's producer failed with. Cancelling it cancels the call.
    """

    def __init__(self, protocol: Line, corr_id: int, body: IBodyProducer | None) -> None:
        self.corr_id = corr_id
        self.answered: Deferred[OAPResponse] = Deferred(lambda _: self.cancel())
        self.response: OAPResponse | None = None
        self._protocol = protocol
        #: The request's body, while it is being sent.
        self.body = body

    def send_body(self) -> None:
        """Begin to send the body, where there is one."""
        if self.body is not None:
            maybeDeferred(self.body.startProducing, self).addCallbacks(self._sent, self._broke)

    def _sent(self, _: object) -> None:
        if self.body is not None:
            self.body = None
            self._protocol.send_end(self.corr_id)

    def _broke(self, failure: Failure) -> None:
        if self.body is None:
            return
        self.body = None
        self._protocol.cancel(self)
        if not self.answered.called:
            self.answered.errback(failure)
        elif self.response is not None:
            self.response.end(OAPError.from_code(ErrorCode.CANCELLED, "the request's body broke off"))

    # IConsumer, for the body

    def write(self, data: bytes) -> None:
        """Send body bytes."""
        if self.body is not None and data:
            self._protocol.send_body(self.corr_id, data)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration: the body is known already."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    # The answer

    def began(self, head: dict[str, Any]) -> None:
        """Hand the response over."""
        self.response = OAPResponse(self._protocol, head)
        self.answered.callback(self.response)

    def ended(self, error: OAPError | None) -> None:
        """Take note of the terminal frame, or of the connection's end. A body still being sent stops."""
        self._stop_body()
        if self.response is not None:
            self.response.end(error)
        elif not self.answered.called:
            self.answered.errback(error or OAPError.from_code(ErrorCode.BAD_GATEWAY, "no answer"))

    def cancel(self) -> None:
        """Give the call up."""
        self._stop_body()
        self._protocol.cancel(self)

    def _stop_body(self) -> None:
        body, self.body = self.body, None
        if body is not None:
            body.stopProducing()
