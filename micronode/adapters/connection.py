"""One HTTP/1.1 connection to an owner: one exchange at a time, and never the bytes of another.

- A response head has a bound, and so has the series of interim ones before it.
- Bytes nobody asked for end the connection instead of becoming part of the next answer. Those that come
  with an answer's end are told (:attr:`~micronode.adapters.exchange.Exchange.has_surplus`): one of the two
  lengths is wrong. They keep the connection from being used again; so do HTTP/1.0 and ``Connection: close``.
- An owner may answer before the request body is whole. A final status of 300 and more cuts the upload; any
  other answer waits for its end, or, when it is there, the connection's; no more than its head and one read,
  or 8 KiB, are held meanwhile.
- A connection can always be aborted, in the same turn of the reactor.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss

from micronode.adapters.answer import AnswerReader
from micronode.adapters.answerhead import AnswerHead, MalformedAnswerError
from micronode.adapters.exchange import Exchange
from micronode.adapters.response import DONE, OwnerResponse
from micronode.adapters.upload import BodyWriter
from micronode.adapters.wire import Keeper, OwnerWire

#: Statuses that end an upload: what is left of it is of no use to who answers so.
_CUTS: Final = 300
#: Of an answer that waits for the end of an upload so much is read.
_HELD_BYTES: Final = 8_192


class OwnerConnection(OwnerWire):
    """The client end of a connection to an owner.

    :ivar requests: begun on it.
    """

    def __init__(self, keeper: Keeper) -> None:
        super().__init__(keeper)
        self.requests = 0
        #: The one that lasts; and the rest is its.
        self._exchange: Exchange | None = None
        self._reader: AnswerReader | None = None
        self._response: OwnerResponse | None = None
        self._writer: BodyWriter | None = None
        #: A head that waits for the end of the upload.
        self._early: AnswerHead | None = None
        #: Of the request, whether its body was more than bytes; of the answer, whether the connection stays.
        self._uploads = False
        self._keeps = False

    # Towards the pool and the exchange

    def request(self, exchange: Exchange) -> None:
        """Begin *exchange*; there must be no other."""
        assert self._exchange is None
        if self.dead:
            exchange.fail(Failure(ResponseNeverReceived([Failure(ConnectionDone())])))
            return
        self.requests += 1
        self._exchange = exchange
        self._reader = AnswerReader(to_head=exchange.to_head)
        body = exchange.body
        if body is None or isinstance(body, bytes):
            self._uploads = False
            self.outlet.write((exchange.request_head, body) if body else (exchange.request_head,))
            exchange.written()
        else:
            self._uploads = True
            self._writer = BodyWriter(self.outlet.buffered(), exchange.request_head, body, self._body_ended)
            self._writer.start()

    def abort_exchange(self, exchange: Exchange) -> None:
        """Close the connection at once if *exchange* is still the one that it serves."""
        if self._exchange is exchange:
            self.kill()

    # Towards the response

    def read_more(self, response: OwnerResponse, reading: bool) -> None:
        """Read, or stop; see :class:`micronode.adapters.response.Source`."""
        if response is self._response:
            self.read(reading)

    def abort(self, response: OwnerResponse) -> None:
        """Close at once; see :class:`micronode.adapters.response.Source`."""
        if response is self._response:
            self.kill()

    # The transport's side

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the owner: its answer, or nothing that was asked for."""
        if self.dead:
            return
        reader, response = self._reader, self._response
        if reader is None:
            self.kill()
            return
        if self._early is not None:
            # Reading was stopped; over TLS the other records of the same read come all the same.
            reader.hold(data)
            self.read(self._waits_for_more(self._early, reader))
            return
        try:
            if response is not None:
                piece = reader.take_body(data)
            else:
                head = reader.take_head(data)
                if self._writer is not None and reader.status >= _CUTS:
                    self._cut()
                if head is None or self.dead:
                    return
                if self._writer is not None:
                    self._early = head
                    self.read(self._waits_for_more(head, reader))
                    return
                self._got_head(head)
                return
        except MalformedAnswerError as error:
            self._malformed(error)
            return
        if reader.over:
            self._finish(response, piece)
            return
        response.take(piece)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is gone; whoever waits for something is told."""
        ours, self.dead = self.dead, True
        self.outlet.drop()
        self.keeper.lost(self)
        if not ours and self._early is not None and self._is_whole(self._early, self._reader):
            # It has answered, and does not want the rest.
            self._cut()
            early, self._early = self._early, None
            self._got_head(early)
        exchange, reader, response = self._exchange, self._reader, self._response
        if exchange is None or reader is None:
            return
        writer = self._writer
        self._forget()
        exchange.lost(reason)
        if writer is not None:
            writer.stop()
            exchange.fail(Failure(RequestTransmissionFailed([reason])))
        elif response is None:
            error = ResponseFailed([reason]) if reader.begun else ResponseNeverReceived([reason])
            exchange.fail(Failure(error))
        elif reader.ends_with_connection and exchange.ended_well:
            response.end(Failure(PotentialDataLoss()))
        else:
            response.end(Failure(ResponseFailed([reason], response)))

    # The answer

    @staticmethod
    def _is_whole(head: AnswerHead, reader: AnswerReader | None) -> bool:
        """Whether the answer that is held is there, as far as its length tells."""
        return reader is not None and head.length is not None and len(reader.rest) >= head.length

    def _waits_for_more(self, head: AnswerHead, reader: AnswerReader) -> bool:
        """Whether to read on although the upload lasts: a small answer is held whole, in case it is all."""
        return (
            (head.length or 0) <= _HELD_BYTES and head.length is not None and not self._is_whole(head, reader)
        )

    def _got_head(self, head: AnswerHead) -> None:
        """The head is whole, and whoever waits for it may do as they like: nothing is read after that here.

        What came with it is taken first, so that a small answer is over, and its connection free, when it
        is told.
        """
        exchange, reader = self._exchange, self._reader
        assert exchange is not None
        assert reader is not None
        body, reader.rest = reader.rest, b""
        if body and not reader.over:
            try:
                body = reader.take_body(body)
            except MalformedAnswerError as error:
                self._response = response = OwnerResponse(head, self)
                self._malformed(error)
                exchange.answer(response)
                return
        if reader.over:
            self._end(head.keeps)
            exchange.answer(OwnerResponse(head, self, body, DONE))
            return
        self._response = response = OwnerResponse(head, self, body)
        self._keeps = head.keeps
        exchange.answer(response)
        if self._response is response:
            self.read(response.wanted)

    def _finish(self, response: OwnerResponse, piece: bytes) -> None:
        """The body is whole with *piece*."""
        exchange = self._exchange
        assert exchange is not None
        if piece:
            response.take(piece)
            if self._exchange is not exchange or self.dead:
                return
        self._end(self._keeps)
        response.end(DONE)

    def _end(self, keeps: bool) -> None:
        """The exchange is over, and the connection free, or of no use any more."""
        exchange, reader = self._exchange, self._reader
        assert exchange is not None
        assert reader is not None
        exchange.has_surplus = reader.surplus
        uploads = self._uploads
        if not self.reading:
            self.read(True)
        self._forget()
        if reader.surplus:
            self.kill()
        elif keeps and exchange.keep:
            self.keeper.idle(self)
        elif uploads:
            # Closing in good order might wait for ever, for an owner that does not take what is left of it.
            self.kill()
        else:
            self.part()

    def _malformed(self, error: MalformedAnswerError) -> None:
        exchange, response, writer = self._exchange, self._response, self._writer
        assert exchange is not None
        self.kill()
        self._forget()
        if writer is not None:
            writer.stop()
        failure = Failure(ResponseFailed([Failure(error)], response))
        if response is None:
            exchange.fail(failure)
        else:
            response.end(failure)

    def _forget(self) -> None:
        self._exchange = self._reader = self._response = self._writer = self._early = None

    # The upload

    def _cut(self) -> None:
        """Send no more of the body: the connection cannot be used for another request."""
        exchange, writer = self._exchange, self._writer
        assert exchange is not None
        assert writer is not None
        self._writer = None
        exchange.keep = False
        writer.stop()
        exchange.written()

    def _body_ended(self, failure: Failure | None) -> None:
        exchange = self._exchange
        assert exchange is not None
        self._writer = None
        if failure is not None:
            self.kill()
            self._forget()
            exchange.fail(Failure(RequestGenerationFailed([failure])))
            return
        exchange.written()
        early, self._early = self._early, None
        if early is not None and self._exchange is exchange and not self.dead:
            self.read(True)
            self._got_head(early)
