"""Binding listeners: synchronously, all or nothing, with errors an operator can act on.

Endpoints are not used here: their services swallow a failure to listen, and an endpoint string such
as ``tcp:5310`` binds every interface.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory

from micronode.concurrency.acceptor import accept_within
from micronode.concurrency.connections import Connections
from micronode.concurrency.inherited import adopt, reason_against
from micronode.config.address import ListenAddress

#: Connections the kernel holds until they are accepted; the stock 50 drops bursts.
BACKLOG: Final = 1024


class ListenError(Exception):
    """A listener could not be bound; its text is one line that says which, why and what to do."""


def bind(
    reactor: Any,
    key: str,
    address: ListenAddress,
    factory: IProtocolFactory,
    sockets: Mapping[str, socket.socket] = MappingProxyType({}),
    connections: Connections[Any] | None = None,
) -> IListeningPort:
    """Bind *factory* to *address* now.

    Only loopback and Unix sockets are taken, judged by the bound socket's own name: callers are not
    yet asked for capabilities.

    :param reactor: provides IReactorTCP and IReactorUNIX, for a socket of *sockets* also IReactorSocket.
    :param key: the configuration key the address comes from (``http.listen``), for the error.
    :param sockets: listening sockets by the name that *address* may have; they stay the caller's.
    :param connections: of how many connections it accepts at a time; None: of any number.
    :raises ListenError: it cannot be bound.
    """
    try:
        if address.name:
            port = adopt(reactor, _find(key, address, sockets), factory)
        elif address.path:
            _clear_stale(address.path)
            port = reactor.listenUNIX(address.path, factory, BACKLOG, mode=0o600)
        else:
            host = "127.0.0.1" if address.host == "localhost" else address.host
            port = reactor.listenTCP(address.port, factory, BACKLOG, interface=host)
    except CannotListenError as error:
        raise ListenError(_explain(key, address, error.socketError)) from None
    except OSError as error:
        raise ListenError(_explain(key, address, error)) from None
    if not is_local(port):
        port.stopListening()
        raise ListenError(
            f"{key} {_bound_as(address, port)}: not loopback, and without capabilities (auth.mode = open) "
            f"only loopback and unix: listeners are served"
        )
    return port if connections is None else accept_within(port, reactor, connections)


def _find(key: str, address: ListenAddress, sockets: Mapping[str, socket.socket]) -> socket.socket:
    """Return the socket that *address* names.

    :raises ListenError: it is not there, or nobody can listen on it.
    """
    inherited = sockets.get(address.name)
    if inherited is None:
        raise ListenError(f"{key} {address}: {not_passed(address.name, sockets)}")
    reason = reason_against(inherited)
    if reason is not None:
        raise ListenError(f"{key} {address}: {reason}")
    return inherited


def not_passed(name: str, sockets: Collection[str]) -> str:
    """Say that there is no socket *name* among *sockets*, and what to do."""
    passed = f"only {', '.join(sorted(sockets))}" if sockets else "nor any other"
    return (
        f"the process was started with no socket of this name ({passed}); "
        f"start its .socket unit, with FileDescriptorName={name}"
    )


def _bound_as(address: ListenAddress, port: IListeningPort) -> str:
    return f"{address} ({bound_address(port)})" if address.name else str(address)


def is_local(port: IListeningPort) -> bool:
    """Whether the bound socket can only be reached from this machine."""
    bound = port.getHost()
    return isinstance(bound, UNIXAddress) or ip_address(cast(Any, bound).host).is_loopback


def bound_address(port: IListeningPort) -> str:
    """Return where *port* is bound, as configuration writes it."""
    bound = cast(Any, port.getHost())
    if isinstance(bound, UNIXAddress):
        name = os.fsdecode(bound.name or b"")
        # One of the abstract namespace, as systemd writes it.
        return f"unix:{'@' + name[1:] if name.startswith(chr(0)) else name}"
    return str(ListenAddress(host=bound.host, port=bound.port))


def _clear_stale(path: str) -> None:
    """Remove the socket file of a process that is gone; leave everything else alone.

    :raises OSError: a file that is no socket is in the way.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def _explain(key: str, address: ListenAddress, error: BaseException) -> str:
    section = key.partition(".")[0]
    # Not by the number: a name that does not resolve has one that os.strerror does not know.
    number, reason = getattr(error, "errno", None), getattr(error, "strerror", None) or str(error)
    fix = f"set {key}, MICRONODE_{section.upper()}_LISTEN or --{section} to another address"
    if number == errno.EADDRINUSE:
        fix = f"stop what listens there, or {fix}"
    return f"{key} {address}: {reason.lower()}; {fix}"
