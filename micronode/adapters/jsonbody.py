"""A small request body of JSON, whole in memory."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

#: Of a request that has such a body.
JSON_TYPE = (b"content-type", b"application/json")


@implementer(IBodyProducer)
class JsonBody:
    """Hands *data* over in one piece."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write the body. The Deferred has fired already."""
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all was written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: all was written at once."""

    def stopProducing(self) -> None:
        """Do nothing: there is nothing left to stop."""
