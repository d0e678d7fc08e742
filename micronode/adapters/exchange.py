"""One request of an owner and its answer, from the moment it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed
from twisted.web.iweb import IBodyProducer, IResponse

if TYPE_CHECKING:
    from micronode.adapters.connection import OwnerConnection

#: What has the cause of a failure in it.
_WRAPPERS: Final = (RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed)


class Exchange:
    """One request of an owner and its response, on a connection of its own while it lasts.

    :param head: the request's, whole.
    :param body: goes out in one write with the head where it is bytes, or there in time.
    :param to_head: whether the method is HEAD.
    :param keep: whether the connection may be used again.
    :param on_written: called when the request was written whole (or will not be written further), if any.

    :ivar reused: whether its connection had carried a request before.
    :ivar connected: whether there is a connection; before that the owner cannot have seen anything.
    :ivar ended_well: whether its connection, if it is gone, was closed in good order: not reset, not cut.
    :ivar has_surplus: whether bytes came with the answer's end that are not part of it.
    """

    __slots__ = (
        "_aborted",
        "_connecting",
        "_connection",
        "_failed",
        "_got",
        "_head",
        "_known",
        "_on_written",
        "_result",
        "body",
        "ended_well",
        "has_surplus",
        "keep",
        "request_head",
        "reused",
        "to_head",
    )

    def __init__(
        self,
        request_head: bytes,
        body: IBodyProducer | bytes | None,
        on_written: Callable[[], None] | None,
        *,
        to_head: bool,
        keep: bool,
    ) -> None:
        #: Whether it is known what came of the request; and that, until somebody was told.
        self._known = False
        self._result: IResponse | Failure | None = None
        self._got: Callable[[IResponse], object] | None = None
        self._failed: Callable[[Failure], object] | None = None
        self._head: Deferred[IResponse] | None = None
        self.reused = False
        self.ended_well = True
        self.has_surplus = False
        self.request_head = request_head
        self.body = body
        self._on_written = on_written
        self.to_head = to_head
        self.keep = keep
        self._aborted = False
        self._connecting: Deferred[Any] | None = None
        self._connection: OwnerConnection | None = None

    def listen(self, got: Callable[[IResponse], object], failed: Callable[[Failure], object]) -> None:
        """Tell one of the two, once, when the response head is there, or that there will be none; maybe now.

        A call of an owner has no other use for a Deferred. There is one listener, or those of :attr:`head`.
        """
        if self._head is not None:
            self._head.addCallbacks(got, failed)
            return
        self._got, self._failed = got, failed
        if self._known:
            self._tell()

    @property
    def head(self) -> Deferred[IResponse]:
        """Fires with the :class:`~twisted.web.iweb.IResponse` when the response head is there, else fails as
        Twisted's client does. Cancelling it leaves the connection as it is: :meth:`abort`.
        """
        if self._head is None:
            head: Deferred[IResponse] = Deferred()
            self.listen(head.callback, head.errback)
            self._head = head
        return self._head

    def _tell(self) -> None:
        got, failed, result = self._got, self._failed, self._result
        if got is None or failed is None:
            return
        # Once, and what they refer to may refer to this.
        self._got = self._failed = self._result = None
        if isinstance(result, Failure):
            failed(result)
        elif result is not None:
            got(result)

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def begin(self, connection: OwnerConnection) -> None:
        """Go on *connection*, which is idle."""
        self._connection = connection
        self._connecting = None
        self.reused = connection.requests > 0
        if self._aborted:
            connection.kill()
            self.fail(Failure(CancelledError()))
        else:
            connection.request(self)

    def begin_with(self, connecting: Deferred[OwnerConnection]) -> None:
        """Go on the connection that *connecting* fires with; it is cancelled by :meth:`abort`."""
        self._connecting = connecting
        connecting.addCallback(self.begin).addErrback(self.fail)

    def written(self) -> None:
        """The request was written whole, or will not be written further."""
        # Once, and what it refers to may refer to this.
        on_written, self._on_written = self._on_written, None
        if on_written is not None:
            on_written()

    def abort(self) -> None:
        """Close the connection at once, unless the exchange is over. Idempotent."""
        self._aborted = True
        if self._connection is not None:
            self._connection.abort_exchange(self)
        elif self._connecting is not None:
            self._connecting.cancel()

    def fail(self, failure: Failure) -> None:
        """There will be no head. Without effect where there is one."""
        if not self._known:
            self._known, self._result = True, failure
            self._tell()

    def answer(self, response: IResponse) -> None:
        """The response head is there."""
        self._known, self._result = True, response
        self._tell()

    def lost(self, reason: Failure) -> None:
        """The connection is gone while the exchange lasted."""
        self.ended_well = reason.check(ConnectionDone) is not None


def root_cause(failure: Failure) -> BaseException | None:
    """Return the error inside what an exchange wraps around it, as Twisted's client does."""
    error = failure.value
    while isinstance(error, _WRAPPERS) and error.reasons:
        error = error.reasons[0].value
    return error
