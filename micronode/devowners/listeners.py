"""Binding the owners: loopback TCP or a private Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorUNIX

from micronode.config.address import ListenAddress
from micronode.devowners.channel import OwnerFactory
from micronode.devowners.options import StartError

#: Twisted's default of 50 drops connections when a node opens its whole pool at once.
_BACKLOG: Final = 1024


def listen(
    reactor: IReactorTCP | IReactorUNIX, flag: str, address: ListenAddress, factory: OwnerFactory
) -> IListeningPort:
    """Bind *address* and return the port.

    :param flag: the option *address* came from, for the error.
    :raises StartError: 69, naming the option and the address.
    """
    served: Any = factory  # HTTPFactory's annotations name a protocol that listenTCP's do not fit
    try:
        if address.path:
            _make_way(Path(address.path))
            # 0600 besides the process's umask, which already keeps the moment between bind and chmod closed.
            return IReactorUNIX(reactor).listenUNIX(address.path, served, backlog=_BACKLOG, mode=0o600)
        host = "127.0.0.1" if address.host == "localhost" else address.host
        return IReactorTCP(reactor).listenTCP(address.port, served, backlog=_BACKLOG, interface=host)
    except CannotListenError as error:
        raise _cannot(flag, address, error.socketError) from None
    except OSError as error:
        raise _cannot(flag, address, error) from None


@attrs.frozen
class Refusing:
    """A place that is taken but where nobody listens: whoever connects is refused by the kernel."""

    place: socket.socket
    path: str = ""

    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """Return where it is, as a port does."""
        if self.path:
            return UNIXAddress(self.path)
        host, port, *_rest = self.place.getsockname()
        kind = IPv6Address if self.place.family == socket.AF_INET6 else IPv4Address
        return kind("TCP", host, port)

    def stopListening(self) -> None:
        """Leave the place."""
        self.place.close()
        if self.path:
            os.unlink(self.path)


def refuse(flag: str, address: ListenAddress) -> Refusing:
    """Take *address* without listening there.

    :raises StartError: as :func:`listen`.
    """
    host = "127.0.0.1" if address.host == "localhost" else address.host
    family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in host else socket.AF_INET
    place = socket.socket(family)
    try:
        if address.path:
            _make_way(Path(address.path))
            place.bind(address.path)
        else:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind((host, address.port))
    except OSError as error:
        place.close()
        raise _cannot(flag, address, error) from None
    return Refusing(place, address.path)


def url(address: ListenAddress, port: IListeningPort | Refusing) -> str:
    """Return what the node's ``owners.NAME.url`` takes to reach *port*."""
    if address.path:
        return str(address)
    bound = port.getHost()
    assert isinstance(bound, IPv4Address | IPv6Address)
    return f"http://{ListenAddress(host=bound.host, port=bound.port)}"


def _make_way(path: Path) -> None:
    """Make the socket's folder where it is missing, and remove a socket of ours that nobody answers.

    :raises OSError: something else is there, or somebody answers.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise FileExistsError(errno.EEXIST, "something else is in its place")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its backlog is full: somebody is there, though busy
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _cannot(flag: str, address: ListenAddress, error: object) -> StartError:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        why = "address in use; stop what listens there or choose another"
    else:
        why = getattr(error, "strerror", None) or str(error)
    return StartError(os.EX_UNAVAILABLE, f"cannot listen on {flag} {address}: {why}")
