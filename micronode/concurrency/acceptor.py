"""Takes connections from a listening port as fast as there is room for them, and no faster.

Twisted's own port accepts up to a hundred connections and more in a go, cannot be told to stop in between,
and answers a lack of descriptors by accepting and closing all that wait. Here accepting stops at the
listener's bound, and for a moment where there is no descriptor; who waits then, waits in the backlog.
"""

from __future__ import annotations

import errno
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorFDSet, IReadDescriptor
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.concurrency.connections import Connections
from micronode.concurrency.timer import LazyTimer

_log = Logger()

#: Connections accepted in one turn of the reactor: those that are there already have their turns, too.
BATCH: Final = 64
#: Seconds until the next try where one could not be accepted.
REST_S: Final = 0.5
#: What happened to that connection alone.
_ITS_OWN: Final = frozenset((errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.EINTR))


def accept_within(port: IListeningPort, reactor: Any, connections: Connections[Any]) -> IListeningPort:
    """Return what accepts the connections of *port* within the bounds of *connections*, in its stead.

    A port without a descriptor, one in memory, is returned as it is.
    """
    if isinstance(port, Port) and IReactorFDSet.providedBy(reactor):
        return Acceptor(port, reactor, connections)
    return port


@implementer(IListeningPort, IReadDescriptor)
class Acceptor:
    """Accepts for *port*, which listens and is never read by itself.

    :ivar listener: that port.
    :ivar accepting: whether it waits for connections: there is room for some.
    """

    def __init__(self, port: Port, reactor: Any, connections: Connections[Any]) -> None:
        self.accepting = False
        self.listener = port
        # No one interface has all that is used of it.
        self._its: Any = port
        self._reactor = reactor
        self._connections = connections
        self._resting = LazyTimer(reactor, self._settle)
        self._open = True
        self._number = 0
        self._its.stopReading()
        connections.on_room = self._settle
        self._settle()

    # IListeningPort

    def startListening(self) -> None:
        """Do nothing: it listens already."""

    def stopListening(self) -> Deferred[None]:
        """Accept nothing more, and close the port."""
        self._close()
        return cast("Deferred[None]", self._its.stopListening())

    def getHost(self) -> IAddress:
        """Return where it is bound."""
        return cast(IAddress, self._its.getHost())

    def take_waiting(self, most: int) -> int:
        """Accept all that wait in the backlog, whatever the bounds say; return how many.

        For who is about to close the port: those would be reset.

        :param most: end after so many: others may come as fast as they are taken.
        """
        taken = 0
        while taken < most and self._open and self._accept():
            taken += 1
        return taken

    # IReadDescriptor

    def fileno(self) -> int:
        """Return the port's descriptor."""
        return cast(int, self._its.fileno())

    def logPrefix(self) -> str:
        """Return the port's name in logs."""
        return cast(str, self._its.logPrefix())

    def doRead(self) -> None:
        """Accept as many as there is room for, and not too many at a time."""
        for _ in range(BATCH):
            if not self._connections.room or not self._accept():
                break
        self._settle()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, and closes whatever is open."""
        self._close()
        self._its.connectionLost(reason)

    # Accepting

    def _accept(self) -> bool:
        """Accept a connection; False: there is none, or none can be had now."""
        try:
            connected, address = self._its.socket.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _ITS_OWN:
                return True
            self._resting.expect(self._reactor.seconds() + REST_S)
            self._connections.exhausted(error.strerror or "")
            return False
        try:
            self._serve(connected, address)
        except Exception:
            _log.failure("accept_failed")
            connected.close()
        return True

    def _serve(self, connected: Any, address: Any) -> None:
        its = self._its
        protocol = its.factory.buildProtocol(its._buildAddr(address))
        if protocol is None:
            connected.close()
            return
        self._number += 1
        protocol.makeConnection(
            its.transport(connected, protocol, address, self.listener, self._number, self._reactor)
        )

    def _settle(self) -> None:
        """Wait for connections where there is room for some, and else for nothing."""
        accepting = self._open and self._resting.at_s is None and self._connections.room > 0
        if accepting != self.accepting:
            self.accepting = accepting
            if accepting:
                self._reactor.addReader(self)
            else:
                self._reactor.removeReader(self)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._settle()
            self._resting.close()
            self._connections.on_room = lambda: None
            self._connections.close()
