"""Request bodies on their way to an owner.

:class:`UploadBody` watches one, so that an owner that stops taking it is noticed. It stands between the
body's producer and Twisted's request writer, sees every pause of the owner's transport, and makes sure
that nothing is written once the upload was stopped.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer, IConsumer)
class UploadBody:
    """An IBodyProducer around another one.

    :param stall_s: seconds the owner's transport may take nothing.
    :param stalled: called once when it took nothing for so long.
    """

    def __init__(
        self, body: IBodyProducer, clock: IReactorTime, stall_s: float, stalled: Callable[[], None]
    ) -> None:
        self._body = body
        self._clock = clock
        self._stall_s = stall_s
        self._stalled = stalled
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
