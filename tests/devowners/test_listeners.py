"""Tests for :mod:`micronode.devowners.listeners`."""

import errno
import io
import socket
import stat
import tempfile
from pathlib import Path

from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.address import ListenAddress
from micronode.devowners.channel import OwnerFactory
from micronode.devowners.exchange import Owner
from micronode.devowners.listeners import Refusing, listen, refuse, url
from micronode.devowners.log import JSONLog
from micronode.devowners.options import StartError


class BusyReactor(MemoryReactorClock):
    """A reactor on which every port is taken."""

    def listenTCP(self, port, factory, backlog=50, interface=""):  # type: ignore[no-untyped-def]
        raise CannotListenError(interface, port, OSError(errno.EADDRINUSE, "Address already in use"))


class ListenersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.factory = OwnerFactory(Owner(), JSONLog(io.StringIO()), Clock())

    def refusal(self, address: ListenAddress, reactor: MemoryReactorClock | None = None) -> str:
        error = self.assertRaises(
            StartError, listen, reactor or self.reactor, "--index", address, self.factory
        )
        self.assertEqual(error.exit_code, 69)
        self.assertIn(f"--index {address}", error.message)
        return error.message


class TCPTests(ListenersCase):
    def test_bound_to_the_address_alone(self) -> None:
        port = listen(self.reactor, "--index", ListenAddress("localhost", 5321), self.factory)
        ((number, factory, backlog, interface),) = self.reactor.tcpServers
        self.assertEqual((number, factory, backlog, interface), (5321, self.factory, 1024, "127.0.0.1"))
        self.assertTrue(url(ListenAddress("127.0.0.1", 0), port).startswith("http://"))

    def test_in_use(self) -> None:
        self.assertIn("in use", self.refusal(ListenAddress("127.0.0.1", 5321), BusyReactor()))


class RefusingTests(SynchronousTestCase):
    """A place that is taken and where nobody listens."""

    def check(self, family: int, where: object, refusing: Refusing) -> None:
        with socket.socket(family) as caller:
            caller.settimeout(10)
            self.assertRaises(ConnectionRefusedError, caller.connect, where)
        with socket.socket(family) as other:
            self.assertRaises(OSError, other.bind, where)
        refusing.stopListening()

    def test_tcp(self) -> None:
        for host, family in (("127.0.0.1", socket.AF_INET), ("localhost", socket.AF_INET)):
            refusing = refuse("--index", ListenAddress(host, 0))
            place = url(ListenAddress(host, 0), refusing)
            self.assertRegex(place, r"\Ahttp://127\.0\.0\.1:[1-9][0-9]*\Z")
            port = int(place.rpartition(":")[2])
            self.check(family, ("127.0.0.1", port), refusing)

    def test_unix(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        address = ListenAddress(path=f"{folder.name}/index")
        refusing = refuse("--index", address)
        self.assertEqual(url(address, refusing), f"unix:{folder.name}/index")
        with socket.socket(socket.AF_UNIX) as caller:
            self.assertRaises(ConnectionRefusedError, caller.connect, address.path)
        refusing.stopListening()
        self.assertFalse(Path(address.path).exists())

    def test_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = ListenAddress("127.0.0.1", taken.getsockname()[1])
            error = self.assertRaises(StartError, refuse, "--index", address)
        self.assertEqual(error.exit_code, 69)
        self.assertIn(f"--index {address}", error.message)


class UnixTests(ListenersCase):
    def setUp(self) -> None:
        super().setUp()
        # Not self.mktemp(): its paths are longer than a socket's may be.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "run", "index.sock")
        self.address = ListenAddress(path=str(self.path))

    def listen(self) -> None:
        port = listen(self.reactor, "--index", self.address, self.factory)
        self.assertEqual(url(self.address, port), f"unix:{self.path}")

    def bind(self) -> socket.socket:
        self.path.parent.mkdir()
        bound = socket.socket(socket.AF_UNIX)
        self.addCleanup(bound.close)
        bound.bind(str(self.path))
        return bound

    def test_its_folder_is_made_private(self) -> None:
        self.listen()
        self.assertEqual(stat.S_IMODE(self.path.parent.stat().st_mode), 0o700)
        self.assertEqual(self.reactor.unixServers[0][0], str(self.path))
        self.assertEqual(self.reactor.unixServers[0][3], 0o600)

    def test_a_dead_socket_makes_way(self) -> None:
        self.bind().close()
        self.listen()
        self.assertFalse(self.path.exists())

    def test_a_living_one_does_not(self) -> None:
        self.bind().listen()
        self.assertIn("in use", self.refusal(self.address))
        self.assertTrue(self.path.exists())

    def test_nor_does_anything_else(self) -> None:
        self.path.parent.mkdir()
        self.path.write_text("precious")
        self.assertIn("something else", self.refusal(self.address))
        self.assertEqual(self.path.read_text(), "precious")
