"""A request body that is already whole in memory, as owner clients take it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class BytesBody:
    """Hands *data* over in one piece; may be started again by a retry."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body. The Deferred has fired already."""
        if self.data:
            consumer.write(self.data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all was written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: all was written at once."""

    def stopProducing(self) -> None:
        """Do nothing: there is nothing left to stop."""
