"""Request bodies on their way to an owner.

:class:`UploadBody` watches one, so that an owner that stops taking it is noticed. It stands between the
body's producer and :class:`BodyWriter`, sees every pause of the owner's transport, and makes sure that
nothing is written once the upload was stopped. :class:`BodyWriter` frames what comes: in chunks, or
counted against the length that the head has told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

#: A body that is there when its head is written goes out with it, up to this size.
JOIN_BYTES: Final = 65_536


@implementer(IBodyProducer, IConsumer)
class UploadBody:
    """An IBodyProducer around another one.

    :param stall_s: seconds the owner's transport may take nothing.
    :param stalled: called once when it took nothing for so long.
    :param begun: called when there is a connection for it.
    """

    def __init__(
        self,
        body: IBodyProducer,
        clock: IReactorTime,
        stall_s: float,
        stalled: Callable[[], None],
        begun: Callable[[], None],
    ) -> None:
        self._body = body
        self._clock = clock
        self._stall_s = stall_s
        self._stalled = stalled
        self._begun = begun
        self._consumer: IConsumer | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self.length = body.length

    # IBodyProducer, towards the request writer

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Begin; see :class:`~twisted.web.iweb.IBodyProducer`. Once stopped, the Deferred never fires."""
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        if not self._stopped:
            self._consumer = consumer
            self._begun()

            def ended(result: object) -> None:
                if not self._stopped:
                    self._end()
                    if isinstance(result, Failure):
                        done.errback(result)
                    else:
                        done.callback(None)

            self._body.startProducing(self).addBoth(ended)
        return done

    def pauseProducing(self) -> None:
        """The owner's transport is full."""
        if not self._stopped and self._consumer is not None:
            if self._timer is None:
                self._timer = self._clock.callLater(self._stall_s, self._give_up)
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """The owner's transport takes more."""
        if not self._stopped and self._consumer is not None:
            self._stop_timer()
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        """The owner's transport is gone, or the upload is of no use any more."""
        if not self._stopped:
            started = self._consumer is not None
            self._end()
            if started:
                self._body.stopProducing()

    # IConsumer, towards the body

    def write(self, data: bytes) -> None:
        """Pass *data* on. An empty piece would end a chunked body, so it is dropped."""
        if data and self._consumer is not None:
            self._consumer.write(data)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration: the request writer has registered this one."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    def _end(self) -> None:
        self._stopped = True
        self._consumer = None
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self._stalled()


class WrongLengthError(Exception):
    """A body is longer or shorter than it said."""


@implementer(IConsumer)
class BodyWriter:
    """Writes a request with a body.

    :param transport: the owner's; the body is its producer while it lasts.
    :param head: the request's; it leaves in one write with what of the body is there by then.
    :param ended: called once, with None when all was written, or with why it never will be. Not called
        after :meth:`stop`.
    """

    def __init__(
        self, transport: Any, head: bytes, body: IBodyProducer, ended: Callable[[Failure | None], None]
    ) -> None:
        self._transport = transport
        self._body = body
        self._ended = ended
        self._over = False
        self._chunked = body.length is UNKNOWN_LENGTH
        self._left: int = 0 if self._chunked else body.length
        #: What was not written yet since the producer is just beginning; None afterwards.
        self._corked: list[bytes] | None = [head]
        self._corked_bytes = 0

    def start(self) -> None:
        """Begin."""
        self._transport.registerProducer(self._body, True)
        if self._over:
            return
        try:
            producing = self._body.startProducing(self)
        except Exception:
            producing = Deferred()
            producing.errback(Failure())
        producing.addCallbacks(self._whole, self._fail)
        self._uncork()

    def stop(self) -> None:
        """Write nothing more, and stop the body's producer. Idempotent."""
        if not self._over:
            self._let_go()
            self._body.stopProducing()

    # IConsumer, towards the body

    def write(self, data: bytes) -> None:
        """Send *data*. An empty piece would end a chunked body, so it is dropped."""
        if not data or self._over:
            return
        if self._chunked:
            self._send(b"%x\r\n%b\r\n" % (len(data), data))
        elif len(data) > self._left:
            self._fail(Failure(WrongLengthError("it is longer than it said")))
            self._body.stopProducing()
        else:
            self._left -= len(data)
            self._send(data)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration: the transport has this one."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    def _send(self, data: bytes) -> None:
        if self._corked is None:
            self._transport.write(data)
            return
        self._corked.append(data)
        self._corked_bytes += len(data)
        if self._corked_bytes > JOIN_BYTES:
            self._uncork()

    def _uncork(self) -> None:
        corked, self._corked = self._corked, None
        if corked is not None:
            self._transport.write(b"".join(corked))

    def _whole(self, _: object) -> None:
        if self._over:
            return
        if self._left:
            self._fail(Failure(WrongLengthError("it is shorter than it said")))
            return
        if self._chunked:
            self._send(b"0\r\n\r\n")
        self._uncork()
        self._let_go()
        self._ended(None)

    def _fail(self, reason: Failure) -> None:
        if not self._over:
            self._let_go()
            self._ended(reason)

    def _let_go(self) -> None:
        self._over = True
        self._corked = None
        self._transport.unregisterProducer()
