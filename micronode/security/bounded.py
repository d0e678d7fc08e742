"""A request body that may have so many bytes and no more, of which nobody knows yet how long it is."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from micronode.errors import ErrorCode, NodeError


def too_large(max_bytes: int, rule: str) -> NodeError:
    """Return the error of a call whose body is longer than the policy's *rule* lets it be."""
    message = f"policy rule {rule!r} allows a body of at most {max_bytes} bytes"
    return NodeError(ErrorCode.BODY_TOO_LARGE, message, source="policy")


@implementer(IBodyProducer, IConsumer)
class BoundedBody:
    """An IBodyProducer that passes on another one's bytes, and fails with the first beyond *max_bytes*.

    By then its consumer has those before it, so whoever stores them must not take them for the whole; an
    owner does not, since its request is broken off.

    :param body: of unknown length, which starts once.
    :param rule: that says so.
    """

    length: Final = UNKNOWN_LENGTH

    def __init__(self, body: IBodyProducer, max_bytes: int, rule: str) -> None:
        self._body = body
        self._left = max_bytes
        self._error = (max_bytes, rule)
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] = Deferred(lambda _: self.stopProducing())

    # IBodyProducer, towards whoever sends it

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Begin; see :class:`~twisted.web.iweb.IBodyProducer`. Fails with ``body_too_large``."""
        self._consumer = consumer
        self._body.startProducing(self).addBoth(self._ended)
        return self._done

    def pauseProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        self._body.resumeProducing()

    def stopProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        self._consumer = None
        self._body.stopProducing()

    # IConsumer, towards the body

    def write(self, data: bytes) -> None:
        """Pass *data* on, unless that is too much."""
        consumer = self._consumer
        if consumer is None:
            return
        self._left -= len(data)
        if self._left >= 0:
            consumer.write(data)
            return
        self.stopProducing()
        if not self._done.called:
            self._done.errback(too_large(*self._error))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""

    def _ended(self, result: object) -> None:
        if self._consumer is None or self._done.called:
            return
        self._consumer = None
        if isinstance(result, Failure):
            self._done.errback(result)
        else:
            self._done.callback(None)
