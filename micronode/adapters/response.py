"""An owner's answer as an IResponse: the head, and a body that somebody may take."""

from __future__ import annotations

from typing import Any, Final, cast
from typing import Protocol as Shape

from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from micronode.adapters.answerhead import AnswerHead

_log = Logger()
#: Without a traceback it is as good as a new one, and making one costs more than reading a head.
DONE: Final = Failure(ResponseDone())
#: Stands for who took a body that is over. That one refers to its answer, and must not wait for the garbage
#: collector.
_NOBODY: Final = Protocol()


class Source(Shape):
    """Where the body comes from: the connection."""

    def read_more(self, response: OwnerResponse, reading: bool) -> None:
        """Read, or stop; without effect once *response* is over."""

    def abort(self, response: OwnerResponse) -> None:
        """Close at once; without effect once *response* is over."""


@implementer(IResponse, IPushProducer)
class OwnerResponse:
    """See :class:`~twisted.web.iweb.IResponse`. To whoever takes the body it is the transport, too.

    Nothing is read behind what came with the head until there is somebody who takes it, nor while that
    one pauses it.

    :param held: what came of the body with the head.
    :param ended: how the body ended, where that is known already.
    :ivar head: its head, which may be that of other answers, too.
    """

    __slots__ = (
        "_consumer",
        "_ended",
        "_headers",
        "_held",
        "_paused",
        "_source",
        "code",
        "head",
        "length",
        "previousResponse",
        "request",
    )

    def __init__(
        self, head: AnswerHead, source: Source, held: bytes = b"", ended: Failure | None = None
    ) -> None:
        self.code = head.code
        self.length: Any = UNKNOWN_LENGTH if head.length is None else head.length
        self.request: Any = None
        self.previousResponse: IResponse | None = None
        self.head = head
        self._headers: Headers | None = None
        self._source = source
        self._consumer: IProtocol | None = None
        self._held = held
        self._ended = ended
        self._paused = False

    # IResponse

    @property
    def version(self) -> tuple[bytes, int, int]:
        """``(b"HTTP", 1, 1)``, or 0 at its end."""
        return self.head.version

    @property
    def phrase(self) -> bytes:
        """The reason behind the status."""
        return self.head.phrase

    @property
    def headers(self) -> Headers:
        """The fields as Twisted has them; made when they are asked for."""
        if self._headers is None:
            self._headers = Headers()
            for name, value in self.head.fields:
                self._headers.addRawHeader(name, value)
        return self._headers

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give *protocol* the body. Once only."""
        if self._consumer is not None:
            raise RuntimeError("the body of an answer is delivered once")
        self._consumer = protocol
        protocol.makeConnection(cast(ITransport, self))
        held, self._held = self._held, b""
        if held:
            self._give(held)
        if self._ended is not None:
            self._tell(self._ended)
        else:
            self._source.read_more(self, not self._paused)

    def setPreviousResponse(self, response: IResponse) -> None:
        """See :class:`~twisted.web.iweb.IResponse`; whoever follows redirects asks for it."""
        self.previousResponse = response

    def whole(self, most: int) -> bytes | None:
        """Give the body out if all of it is here, at most *most* bytes; it is delivered to nobody then."""
        if self._ended is not DONE or self._consumer is not None or len(self._held) > most:
            return None
        self._consumer = _NOBODY
        held, self._held = self._held, b""
        return held

    # The connection's side

    @property
    def ended(self) -> bool:
        """Whether all of the body has come, or will not: whoever takes it waits for nothing."""
        return self._ended is not None

    @property
    def wanted(self) -> bool:
        """Whether there is somebody who takes the body now."""
        return self._consumer is not None and not self._paused

    def take(self, data: bytes) -> None:
        """Take body bytes."""
        if self._consumer is None:
            self._held += data
        else:
            self._give(data)

    def end(self, reason: Failure) -> None:
        """There is no more of the body. :param reason: ResponseDone, PotentialDataLoss, ResponseFailed."""
        self._ended = reason
        if self._consumer is not None:
            self._tell(reason)

    def _give(self, data: bytes) -> None:
        assert self._consumer is not None
        try:
            self._consumer.dataReceived(data)
        except Exception:
            # It is whoever takes the body that is broken, and not the answer.
            failure = Failure()
            _log.failure("body_not_taken", failure)
            self._source.abort(self)
            # Else it is told of the end when the connection is lost.
            if self._ended is DONE:
                self._ended = Failure(ResponseFailed([failure], self))

    def _tell(self, reason: Failure) -> None:
        consumer, self._consumer = self._consumer, _NOBODY
        assert consumer is not None
        try:
            consumer.connectionLost(reason)
        except Exception:
            _log.failure("body_end_not_taken")

    # ITransport and IPushProducer, towards whoever takes the body

    def pauseProducing(self) -> None:
        """Read no more for now."""
        if not self._paused:
            self._paused = True
            self._source.read_more(self, False)

    def resumeProducing(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            self._source.read_more(self, self._consumer is not None)

    def stopProducing(self) -> None:
        """Close the connection at once: nobody wants the rest."""
        self._source.abort(self)

    def loseConnection(self) -> None:
        """As :meth:`stopProducing`: there is nothing to say any more."""
        self._source.abort(self)

    abortConnection = loseConnection
