"""A connection to an owner, and the factory of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web import http

from micronode.devowners.request import OwnerRequest

if TYPE_CHECKING:
    from micronode.devowners.exchange import Owner
    from micronode.devowners.log import JSONLog

#: A query of 4 096 characters, each of four bytes and percent-quoted, still fits into the head.
_MAX_HEAD_BYTES: Final = 65_536
#: Seconds a connection may be silent; longer than callers keep theirs in a pool.
_IDLE_S: Final = 120.0


class OwnerChannel(http.HTTPChannel):
    """An HTTP/1.1 connection to an owner."""

    requestFactory = OwnerRequest
    MAX_LENGTH = _MAX_HEAD_BYTES
    totalHeadersSize = _MAX_HEAD_BYTES
    factory: OwnerFactory
    requests: list[OwnerRequest]
    callLater: Callable[..., IDelayedCall]

    @property
    def owner(self) -> Owner:
        """Who answers."""
        return self.factory.owner

    @property
    def log(self) -> JSONLog:
        """Where defects are told."""
        return self.factory.owner_log

    def allHeadersReceived(self) -> None:
        """Tell the request its head before its body begins."""
        self.requests[-1].head_received(self._command, self._path, self._version)
        http.HTTPChannel.allHeadersReceived(self)

    def close(self) -> None:
        """Close the connection when what was written has left."""
        http.HTTPChannel.loseConnection(self)

    def abort(self) -> None:
        """Cut the connection without a word."""
        http.HTTPChannel.forceAbortClient(self)


class OwnerFactory(http.HTTPFactory):
    """Makes the connections of one owner.

    :param reactor: for idle timeouts and latencies.
    """

    protocol = OwnerChannel  # type: ignore[assignment]  # HTTP/1.1 alone: no choice of protocols around it

    def __init__(self, owner: Owner, log: JSONLog, reactor: IReactorTime) -> None:
        super().__init__(timeout=_IDLE_S, reactor=reactor)
        self.owner = owner
        self.owner_log = log

    def log(self, request: http.Request) -> None:
        """Note an answered request: route and outcome, never what was asked for."""
        assert isinstance(request, OwnerRequest)
        self.owner_log.debug(
            "request",
            owner=self.owner.name,
            route=request.route,
            status=request.code,
            bytes=request.sentLength,
        )
