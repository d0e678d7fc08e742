"""micronode.adapters.tls, in memory; whom it trusts is ``tests/integration/test_owner_tls.py``'s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from zope.interface.verify import verifyObject

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.tls import TlsEndpoint, TlsRefusedError, TlsWatch, is_about_ours, refusal
from micronode.config.schema import Config
from micronode.config.url import OwnerUrl
from micronode.security.identity import read_identities
from tests.support.certificates import OwnerTls, make_authority
from tests.support.network import OwnerEnd, response


def openssl(*reasons: str) -> SSL.Error:
    return SSL.Error([("SSL routines", "", reason) for reason in reasons])


class TlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = make_authority()
        ca = self.authority.save(folder, "ca")[0]
        config = Config.from_mapping({"owners": {"index": {"url": "https://10.0.0.9", "ca": ca}}})
        self.identity = read_identities(config, {})["index"]
        self.reactor = MemoryReactorClock()

    def accept(self) -> OwnerEnd:
        """Accept what was connected last."""
        end = OwnerEnd(self.reactor)
        end.protocol = self.reactor.tcpClients[-1][2].buildProtocol(None)
        assert end.protocol is not None
        end.protocol.makeConnection(end)
        return end


class EndpointTests(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        inner = TCP4ClientEndpoint(self.reactor, "10.0.0.9", 443)
        self.endpoint = TlsEndpoint(self.reactor, inner, self.identity.context, "10.0.0.9")
        self.built: list[Protocol] = []

    def connect(self) -> Deferred[Any]:
        def build() -> Protocol:
            self.built.append(Protocol())
            return self.built[-1]

        return self.endpoint.connect(Factory.forProtocol(build))  # type: ignore[arg-type]

    def test_interface(self) -> None:
        verifyObject(IStreamClientEndpoint, self.endpoint)

    def test_connected_when_the_handshake_is_over(self) -> None:
        connecting = self.connect()
        end = self.accept()
        self.assertNoResult(connecting)
        self.assertEqual(self.built, [])
        owner = OwnerTls(end, self.authority.sign("10.0.0.9"))
        owner.pump()
        protocol = self.successResultOf(connecting)
        self.assertEqual(self.built, [protocol])
        protocol.transport.write(b"hello")
        self.assertEqual(owner.pump(), b"hello")

    def test_a_name_with_a_dot_at_its_end(self) -> None:
        """No certificate has it, nor SNI."""
        inner = TCP4ClientEndpoint(self.reactor, "10.0.0.9", 443)
        self.endpoint = TlsEndpoint(self.reactor, inner, self.identity.context, "owner.example.")
        connecting = self.connect()
        owner = OwnerTls(self.accept(), self.authority.sign("owner.example"))
        owner.pump()
        self.successResultOf(connecting)
        self.assertEqual(owner.asked_for(), b"owner.example")

    def test_no_connection(self) -> None:
        connecting = self.connect()
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ZeroDivisionError()))
        self.failureResultOf(connecting, ZeroDivisionError)

    def test_refused(self) -> None:
        connecting = self.connect()
        end = self.accept()
        OwnerTls(end, self.authority.sign("10.0.0.8")).pump()
        self.reactor.advance(0)
        error = self.failureResultOf(connecting, TlsRefusedError).value
        self.assertEqual(error.reason, "its certificate: it is for another name")
        self.assertEqual(str(error), error.reason)
        self.assertNotIn("10.0.0", error.what)
        self.assertEqual((self.built, end.closed), ([], True))

    def test_lost_in_the_handshake(self) -> None:
        connecting = self.connect()
        self.accept().hang_up()
        failure = self.failureResultOf(connecting)
        self.assertIsNone(failure.check(TlsRefusedError))
        self.assertEqual(self.built, [])

    def test_cancelled_in_the_handshake(self) -> None:
        connecting = self.connect()
        end = self.accept()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(end.aborted)
        self.reactor.advance(0)
        self.assertTrue(end.lost)
        self.assertEqual(self.built, [])


class RefusalTests(SynchronousTestCase):
    def test_what_openssl_says(self) -> None:
        for reason, what in (
            ("wrong version number", "does not speak TLS"),
            ("http request", "does not speak TLS"),
            ("tlsv13 alert certificate required", "does not accept the node's certificate"),
            ("tlsv1 alert unknown ca", "does not accept the node's certificate"),
            ("ssl/tls alert bad certificate", "does not accept the node's certificate"),
            ("tlsv1 alert protocol version", "cannot be reached over TLS"),
            ("certificate verify failed", "cannot be reached over TLS"),
            ("anything\nelse", "cannot be reached over TLS"),
        ):
            refused = refusal(openssl(reason))
            self.assertEqual(refused.what, what, reason)
            self.assertTrue(refused.reason.isprintable())
            self.assertEqual(is_about_ours(openssl("x", reason)), "certificate" in what)

    def test_errors_that_are_odd(self) -> None:
        for error in (SSL.Error(), SSL.Error([]), SSL.Error("text"), SSL.Error([()]), openssl("x" * 5000)):
            self.assertTrue(0 < len(refusal(error).reason) <= 200)


class WatchTests(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.watch = TlsWatch("index", "https://owner")

    def told(self, act: Any, *args: Any) -> list[tuple[str, str]]:
        with capturedLogs() as logs:
            act(*args)
        for line in logs:
            self.assertEqual((line["owner"], line["endpoint"]), ("index", "https://owner"))
            self.assertNotIn("log_failure", line)
        return [(line["log_level"].name, line["reason"]) for line in logs]

    def test_each_change_is_told(self) -> None:
        expired, unknown = (Failure(TlsRefusedError("w", each)) for each in ("expired", "unknown"))
        warn, info = LogLevel.warn.name, LogLevel.info.name
        self.assertEqual(self.told(self.watch.answered, None), [])
        self.assertEqual(self.told(self.watch.failed, expired), [(warn, "expired")])
        self.assertEqual(self.told(self.watch.failed, expired), [])
        self.assertEqual(self.told(self.watch.failed, Failure(ZeroDivisionError())), [])
        self.assertEqual(self.told(self.watch.failed, unknown), [(warn, "unknown")])
        self.assertEqual(self.told(self.watch.answered, None), [(info, "well again")])
        self.assertEqual(self.told(self.watch.answered, None), [])

    def test_a_refusal_behind_the_handshake(self) -> None:
        alert = Failure(ResponseNeverReceived([Failure(openssl("tlsv13 alert certificate required"))]))
        self.assertIsNotNone(self.watch.failed(alert).check(TlsRefusedError))

    def test_what_else_breaks_is_let_be(self) -> None:
        broken = Failure(ResponseNeverReceived([Failure(openssl("bad record mac"))]))
        self.assertIs(self.watch.failed(broken), broken)


class AgentTests(TlsCase):
    """Connections of an owner's agent."""

    def setUp(self) -> None:
        super().setUp()
        url = OwnerUrl.parse("https://10.0.0.9")
        self.agent = OwnerAgent(self.reactor, url, connections=2, owner="index", identity=self.identity)

    def ask(self) -> Any:
        return self.agent.exchange(b"GET", b"/x", ())

    def test_one_that_waits_is_closed_without_waiting_for_its_owner(self) -> None:
        exchange = self.ask()
        end = self.accept()
        owner = OwnerTls(end, self.authority.sign("10.0.0.9"))
        self.assertIn(b"GET /x", owner.pump())
        owner.send(response(b"ok"))
        self.successResultOf(exchange.head)
        self.assertFalse(end.closed)
        self.reactor.advance(4.0)
        self.assertTrue(end.aborted)

    def test_one_that_has_ended_is_not_used_again(self) -> None:
        """It is lost a turn of the reactor later, and a request would be until then."""
        exchange = self.ask()
        owner = OwnerTls(self.accept(), self.authority.sign("10.0.0.9"))
        owner.pump()
        owner.send(response(b"ok"))
        self.successResultOf(exchange.head)
        owner.end()
        exchange = self.ask()
        owner = OwnerTls(self.accept(), self.authority.sign("10.0.0.9"))
        self.assertIn(b"GET /x", owner.pump())
        owner.send(response(b"ok"))
        self.successResultOf(exchange.head)

    def test_what_it_is_asked_in_the_handshake_is_counted(self) -> None:
        exchange = self.ask()
        self.accept()
        self.assertEqual(self.agent.connections, 1)
        exchange.abort()
        self.failureResultOf(exchange.head, CancelledError)
        self.assertEqual(self.agent.connections, 0)
