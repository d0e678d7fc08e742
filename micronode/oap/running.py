"""The call behind a stream: cancelled when the stream ends first, a defect when it ends without an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.errors import ErrorCode, NodeError

if TYPE_CHECKING:
    from micronode.oap.stream import Stream

_log = Logger()
_DEFECT: Final = "a defect of the node; its log has the request id"


def complain(stream: Stream, event: str, failure: Failure | None = None) -> None:
    """Log a defect of the call behind *stream*."""
    operation = stream.operation
    route = operation.name if operation is not None else ""
    if failure is not None:
        _log.failure(event, failure=failure, route=route, request_id=stream.request_id)
    else:
        _log.error(event, route=route, request_id=stream.request_id)


class Running:
    """Watches the dispatcher's Deferred for *stream*.

    It lets go of the stream when the call is over, so that neither waits for the garbage collector.
    """

    __slots__ = ("_call", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream | None = stream
        self._call: Deferred[None] | None = None

    @property
    def active(self) -> bool:
        """Whether there is a call, and it is not over."""
        return self._call is not None

    def watch(self, call: Deferred[None]) -> None:
        """Begin; *call* is cancelled by :meth:`cancel`."""
        self._call = call
        call.addBoth(self._over)
        if self._stream is not None and self._stream.ended:
            # It was ended while the call was being dispatched, before there was anything to cancel.
            self.cancel()

    def cancel(self) -> None:
        """Cancel the call if it still runs."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _over(self, result: object) -> None:
        stream, self._stream = self._stream, None
        self._call = None
        if stream is not None and not stream.ended:
            if isinstance(result, Failure):
                complain(stream, "call_failed", result)
            else:
                complain(stream, "call_unanswered")
            stream.abort(NodeError(ErrorCode.INTERNAL, _DEFECT))
