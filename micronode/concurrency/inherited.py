"""Listening sockets that somebody else made and keeps: taken over without a trace left on them.

The next process may be handed the same socket, and connections wait in its backlog until then. So it is
never shut down, its backlog stays what its maker chose, and a Unix socket keeps its path and its mode.
``reactor.adoptStreamPort`` keeps to that for TCP; for Unix sockets it makes the path open to everybody,
and in the end removes it and shuts the socket down.
"""

from __future__ import annotations

import socket
from typing import Any, Final, cast

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

_FAMILIES: Final = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)


def reason_against(inherited: socket.socket) -> str | None:
    """Return why connections cannot be accepted from *inherited*, in words; None where they can."""
    if inherited.family not in _FAMILIES:
        return "it is neither a TCP nor a Unix socket"
    if inherited.type != socket.SOCK_STREAM:
        return "it is no stream socket (ListenStream= makes one)"
    if not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "it does not listen (with Accept=yes it is a connection)"
    return None


def adopt(reactor: Any, inherited: socket.socket, factory: IProtocolFactory) -> IListeningPort:
    """Serve connections to *inherited* with *factory* from now on.

    The port has a descriptor of its own: *inherited* stays the caller's, but no longer blocks.

    :param reactor: provides IReactorSocket and IReactorFDSet.
    :raises OSError: there is no descriptor left.
    """
    inherited.setblocking(False)
    if inherited.family != socket.AF_UNIX:
        port = reactor.adoptStreamPort(inherited.fileno(), inherited.family, factory)
        return cast(IListeningPort, port)
    unix_port = _InheritedUnixPort(inherited, factory, reactor)
    unix_port.startListening()
    return unix_port


class _InheritedUnixPort(unix.Port):
    """A Unix socket whose path is not ours."""

    # The other processes that have it would be refused connections from then on.
    _shouldShutdown = False

    def __init__(self, inherited: socket.socket, factory: IProtocolFactory, reactor: Any) -> None:
        super().__init__(inherited.getsockname(), factory, reactor=reactor)
        self._inherited = inherited.dup()

    def startListening(self) -> None:
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = self._inherited
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)
