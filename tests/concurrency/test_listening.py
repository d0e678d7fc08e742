"""Binding listeners: what is refused, and what the operator is told."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.listening import BACKLOG, ListenError, bind, bound_address, is_local
from micronode.config.address import ListenAddress


class StubPort:
    """A listening port that is bound where the test says."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self.stopped = 0

    def getHost(self) -> Any:
        return self._host

    def stopListening(self) -> None:
        self.stopped += 1


class StubReactor:
    """Answers listenTCP and listenUNIX with one port, or raises; the calls are kept in *asked*.

    (MemoryReactor's TCP ports are always bound to every interface, which bind() rightly refuses.)
    """

    def __init__(self, outcome: Any) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._outcome = outcome

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> Any:
        return self._listen(port, factory, backlog, interface)

    def listenUNIX(self, path: str, factory: Factory, backlog: int = 50, mode: int = 0o666) -> Any:
        return self._listen(path, factory, backlog, mode)

    def adoptStreamPort(self, number: int, family: int, factory: Factory) -> Any:
        return self._listen(number, family, factory)

    def _listen(self, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


LOOPBACK = IPv4Address("TCP", "127.0.0.1", 5310)


def in_use(number: int = errno.EADDRINUSE) -> CannotListenError:
    return CannotListenError("127.0.0.1", 5310, OSError(number, os.strerror(number)))


class BindTests(SynchronousTestCase):
    """bind() over a reactor in memory."""

    def test_tcp(self) -> None:
        port, factory = StubPort(LOOPBACK), Factory()
        reactor = StubReactor(port)
        found = bind(reactor, "http.listen", ListenAddress(host="127.0.0.1", port=5310), factory)
        self.assertIs(found, port)
        self.assertEqual(reactor.asked, [(5310, factory, BACKLOG, "127.0.0.1")])
        self.assertEqual(port.stopped, 0)

    def test_localhost_is_never_looked_up(self) -> None:
        """What the name means is for the machine's resolver to say; loopback is what is meant."""
        reactor = StubReactor(StubPort(LOOPBACK))
        bind(reactor, "http.listen", ListenAddress(host="localhost", port=0), Factory())
        self.assertEqual(reactor.asked[0][3], "127.0.0.1")

    def test_ipv6(self) -> None:
        reactor = StubReactor(StubPort(IPv6Address("TCP", "::1", 5310)))
        bind(reactor, "http.listen", ListenAddress(host="::1", port=0), Factory())
        self.assertEqual(reactor.asked[0][3], "::1")

    def test_unix(self) -> None:
        """Only the node's own user may connect."""
        reactor, factory = MemoryReactor(), Factory()
        bind(reactor, "oap.listen", ListenAddress(path="/nowhere/oap.sock"), factory)
        self.assertEqual(reactor.unixServers, [("/nowhere/oap.sock", factory, BACKLOG, 0o600, 0)])

    def test_judged_by_the_bound_socket(self) -> None:
        """Not by what was asked for: the port that turns out open to others is closed again."""
        for host in (
            IPv4Address("TCP", "0.0.0.0", 5310),
            IPv4Address("TCP", "192.0.2.1", 5310),
            IPv6Address("TCP", "::", 5310),
            IPv6Address("TCP", "fe80::1%eth0", 5310),
        ):
            port = StubPort(host)
            error = self.assertRaises(
                ListenError,
                bind,
                StubReactor(port),
                "http.listen",
                ListenAddress(host="127.0.0.1"),
                Factory(),
            )
            self.assertEqual(port.stopped, 1)
            self.assertIn("http.listen 127.0.0.1:0: not loopback", str(error))

    def test_local_sockets(self) -> None:
        for host in (
            IPv4Address("TCP", "127.0.0.1", 1),
            IPv4Address("TCP", "127.9.9.9", 1),
            IPv6Address("TCP", "::1", 1),
            UNIXAddress(b"/run/oap.sock"),
        ):
            self.assertTrue(is_local(StubPort(host)))  # type: ignore[arg-type]

    def test_bound_address(self) -> None:
        for host, expected in (
            (IPv4Address("TCP", "127.0.0.1", 4711), "127.0.0.1:4711"),
            (IPv6Address("TCP", "::1", 4711), "[::1]:4711"),
            (UNIXAddress(b"/run/oap.sock"), "unix:/run/oap.sock"),
            (UNIXAddress(b"\0oap"), "unix:@oap"),
        ):
            self.assertEqual(bound_address(StubPort(host)), expected)  # type: ignore[arg-type]


class InheritedTests(SynchronousTestCase):
    """Listeners that are sockets of systemd."""

    ADDRESS = ListenAddress(name="http")

    def test_the_socket_of_that_name(self) -> None:
        with socket.socket() as http, socket.socket() as oap:
            for each in (http, oap):
                each.bind(("127.0.0.1", 0))
                each.listen(1)
            port, factory = StubPort(LOOPBACK), Factory()
            reactor = StubReactor(port)
            found = bind(reactor, "http.listen", self.ADDRESS, factory, {"oap": oap, "http": http})
            self.assertIs(found, port)
            self.assertEqual(reactor.asked, [(http.fileno(), socket.AF_INET, factory)])

    def refusal(self, reactor: StubReactor, sockets: dict[str, socket.socket]) -> str:
        error = self.assertRaises(ListenError, bind, reactor, "http.listen", self.ADDRESS, Factory(), sockets)
        return str(error)

    def test_no_such_socket(self) -> None:
        reactor = StubReactor(None)
        self.assertIn(
            "http.listen systemd:http: the process was started with no socket of this name (nor any other)",
            self.refusal(reactor, {}),
        )
        with socket.socket() as other:
            self.assertIn("(only admin, oap)", self.refusal(reactor, {"oap": other, "admin": other}))
        self.assertEqual(reactor.asked, [])

    def test_nothing_to_listen_on(self) -> None:
        with socket.socket() as deaf:
            refusal = self.refusal(StubReactor(None), {"http": deaf})
        self.assertIn("http.listen systemd:http: it does not listen", refusal)

    def test_judged_by_the_bound_socket(self) -> None:
        """Whoever made it: the refusal says where it is."""
        port = StubPort(IPv4Address("TCP", "0.0.0.0", 80))
        with socket.socket() as public:
            public.bind(("127.0.0.1", 0))
            public.listen(1)
            refusal = self.refusal(StubReactor(port), {"http": public})
        self.assertIn("http.listen systemd:http (0.0.0.0:80): not loopback", refusal)
        self.assertEqual(port.stopped, 1)


class ErrorTests(SynchronousTestCase):
    """What a ListenError says: one line with which, why and what to do."""

    def message(self, error: BaseException, key: str, address: ListenAddress) -> str:
        found = self.assertRaises(ListenError, bind, StubReactor(error), key, address, Factory())
        self.assertNotIn("\n", str(found))
        return str(found)

    def test_in_use(self) -> None:
        text = self.message(in_use(), "http.listen", ListenAddress(host="127.0.0.1", port=5310))
        self.assertEqual(
            text,
            "http.listen 127.0.0.1:5310: address already in use; stop what listens there, "
            "or set http.listen, MICRONODE_HTTP_LISTEN or --http to another address",
        )

    def test_not_allowed(self) -> None:
        text = self.message(in_use(errno.EACCES), "admin.listen", ListenAddress(host="127.0.0.1", port=80))
        self.assertEqual(
            text,
            "admin.listen 127.0.0.1:80: permission denied; "
            "set admin.listen, MICRONODE_ADMIN_LISTEN or --admin to another address",
        )

    def test_a_name_that_does_not_resolve(self) -> None:
        """A resolver's error numbers are none of the system's."""
        cause = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        error = CannotListenError("nowhere.invalid", 5310, cause)
        text = self.message(error, "oap.listen", ListenAddress(host="nowhere.invalid", port=5310))
        self.assertTrue(
            text.startswith("oap.listen nowhere.invalid:5310: name or service not known; set oap")
        )

    def test_an_error_of_the_system(self) -> None:
        error = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        text = self.message(error, "oap.listen", ListenAddress(path="/nowhere/oap.sock"))
        self.assertIn("oap.listen unix:/nowhere/oap.sock: no such file or directory; set oap.listen", text)


class StaleSocketTests(SynchronousTestCase):
    """What may lie where a Unix socket is to be: only the leavings of a dead process are removed."""

    def setUp(self) -> None:
        # Not trial's own folder: a socket's path has room for 107 bytes.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "s")

    def bind(self) -> None:
        bind(MemoryReactor(), "oap.listen", ListenAddress(path=self.path), Factory())

    def make_socket(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(sock.close)
        sock.bind(self.path)
        return sock

    def test_nothing_there(self) -> None:
        self.bind()
        self.assertFalse(os.path.exists(self.path))

    def test_dead(self) -> None:
        self.make_socket().close()
        self.bind()
        self.assertFalse(os.path.exists(self.path))

    def test_alive(self) -> None:
        """Binding then fails with "address already in use", and the other process keeps its socket."""
        self.make_socket().listen(1)
        self.bind()
        self.assertTrue(stat.S_ISSOCK(os.stat(self.path).st_mode))

    def test_alive_and_busy(self) -> None:
        """A full backlog is not a dead process."""
        self.make_socket().listen(0)
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(waiting.close)
        waiting.connect(self.path)
        self.bind()
        self.assertTrue(os.path.exists(self.path))

    def test_of_another_kind(self) -> None:
        self.make_socket(socket.SOCK_DGRAM)
        self.bind()
        self.assertTrue(os.path.exists(self.path))

    def test_a_file(self) -> None:
        with open(self.path, "w") as file:
            file.write("precious")
        error = self.assertRaises(ListenError, self.bind)
        self.assertIn("a file that is no socket is there; set oap.listen", str(error))
        with open(self.path) as file:
            self.assertEqual(file.read(), "precious")
