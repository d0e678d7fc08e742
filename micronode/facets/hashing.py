"""A request body that is hashed on its way to an owner."""

from __future__ import annotations

from blake3 import blake3
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer, IConsumer)
class HashedBody:
    """An IBodyProducer that passes on another one's bytes and knows their BLAKE3 digest.

    :param body: None is a body of no bytes.
    """

    def __init__(self, body: IBodyProducer | None) -> None:
        self._body = body
        self._hasher = blake3()
        self._consumer: IConsumer | None = None
        self.length = 0 if body is None else body.length

    def digest(self) -> bytes:
        """Return the digest (32 bytes) of what was passed on: of all of it, once startProducing() is done."""
        digest: bytes = self._hasher.digest()
        return digest

    # IBodyProducer, towards whoever sends it

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Begin, and where it is called again, anew; see :class:`~twisted.web.iweb.IBodyProducer`."""
        self._hasher.reset()
        if self._body is None:
            return succeed(None)
        self._consumer = consumer
        done: Deferred[None] = self._body.startProducing(self)
        return done

    def pauseProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        if self._body is not None:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        if self._body is not None:
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        """See :class:`~twisted.web.iweb.IBodyProducer`."""
        if self._body is not None:
            self._body.stopProducing()

    # IConsumer, towards the body

    def write(self, data: bytes) -> None:
        """Hash *data* and pass it on."""
        assert self._consumer is not None
        self._hasher.update(data)
        self._consumer.write(data)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Body producers need no registration."""

    def unregisterProducer(self) -> None:
        """See :meth:`registerProducer`."""
