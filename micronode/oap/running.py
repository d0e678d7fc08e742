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


class Running:
    """Watches the dispatcher's Deferred for *stream*."""

    __slots__ = ("_call", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._call: Deferred[None] | None = None

    def watch(self, call: Deferred[None]) -> None:
        """Begin; *call* is cancelled by :meth:`cancel`."""
        self._call = call
        call.addBoth(self._over)
        if self._stream.ended:
            # It was ended while the call was being dispatched, before there was anything to cancel.
            self.cancel()

    def cancel(self) -> None:
        """Cancel the call if it still runs."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def complain(self, event: str, failure: Failure | None = None) -> None:
        """Log a defect of the call."""
        operation = self._stream.operation
        route = operation.name if operation is not None else ""
        request_id = self._stream.request_id
        if failure is not None:
            _log.failure(event, failure=failure, route=route, request_id=request_id)
        else:
            _log.error(event, route=route, request_id=request_id)

    def _over(self, result: object) -> None:
        self._call = None
        if not self._stream.ended:
            if isinstance(result, Failure):
                self.complain("call_failed", result)
            else:
                self.complain("call_unanswered")
            self._stream.abort(NodeError(ErrorCode.INTERNAL, _DEFECT))
