"""TLS towards an owner: connections that are made only once it has shown who it is.

A connection is its user's when the handshake is over, so nothing of a request is sent to whom cannot be
verified, and a call may go to another endpoint. Verified is that the certificate is from an authority which
the identity trusts, valid now, made for servers, and for the very name or address in the URL
(service-identity). An owner that does not take the node's own certificate can say so with TLS 1.3 only after
that: its alert is read as the same kind of refusal.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.adapters.exchange import root_cause
from micronode.config.problems import printable

_log = Logger()

#: Of OpenSSL's verdicts about a certificate (``X509_V_ERR_…``) those that have a meaning for an operator.
_VERDICTS: Final = {
    2: "nobody that is trusted has signed it",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself, and not trusted",
    19: "it is from an authority that is not trusted",
    20: "nobody that is trusted has signed it",
    21: "nobody that is trusted has signed it",
    24: "it must not sign others",
    79: "it must not sign others",
    26: "it is not made for servers",
    66: "its key is too short",
    67: "an authority's key is too short",
    68: "its signature is too weak",
}
#: What the alerts by which a peer refuses a certificate have in their names.
_ABOUT_OURS: Final = ("certificate", "unknown ca", "access denied", "decrypt error")
#: What OpenSSL makes of bytes that are no TLS.
_NO_TLS: Final = ("wrong version number", "packet length too long", "http request", "unknown protocol")


class TlsRefusedError(Exception):
    """There is no TLS with an owner.

    :param what: to its caller, behind the owner's name.
    :param reason: to whoever runs the node.
    """

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(what, reason)
        self.what = what
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@implementer(IOpenSSLClientConnectionCreator)
class _Verifier:
    """Makes OpenSSL's connections to one *host*."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._is_address = isIPAddress(host) or isIPv6Address(host)
        # A name may end with a dot; no certificate does.
        self._host = host if self._is_address else host.rstrip(".")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See :class:`~twisted.internet.interfaces.IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if not self._is_address:
            # RFC 6066 section 3: names only.
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)
        return connection

    def _verify(
        self, connection: SSL.Connection, certificate: Any, verdict: int, depth: int, ok: int
    ) -> bool:
        """Judge a certificate of the chain, the highest first; what is raised here would be lost."""
        reason = "" if ok else _VERDICTS.get(verdict, f"OpenSSL says no ({verdict})")
        if not reason and depth == 0:
            reason = self._misnamed(certificate)
        if not reason:
            return True
        whose = "its certificate" if depth == 0 else "the certificate of an authority"
        tls: TlsWire = connection.get_app_data()
        tls.verdict = tls.verdict or f"{whose}: {reason}"
        return False

    def _misnamed(self, certificate: Any) -> str:
        """Return what is wrong with the names in *certificate*, or nothing."""
        host = IPAddress_ID(self._host) if self._is_address else DNS_ID(self._host)
        try:
            names = extract_patterns(certificate)
            if not names:
                return "it has no subjectAltName, and a common name is none"
            verify_service_identity(names, [host], [])
        except VerificationError:
            return "it is for another name"
        except Exception:
            # Whatever reading a certificate raises at one that is odd.
            return "it names nobody in a way that can be read"
        return ""


class TlsWire(TLSMemoryBIOProtocol):
    """TLS on a connection.

    :ivar handshake: what it began with.
    :ivar verdict: what is wrong with the certificate that was shown, or empty.
    """

    def __init__(self, factory: Any, handshake: Any, connect: bool = True) -> None:
        super().__init__(factory, handshake, connect)  # type: ignore[no-untyped-call]
        self.handshake = handshake
        self.verdict = ""

    @property
    def ended(self) -> bool:
        """Whether TLS is over, with or without its owner's word: what is written now goes nowhere."""
        beneath: Any = self.transport
        return bool(beneath.disconnecting)


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Stands where the protocol of *factory* will, until the handshake is over.

    :ivar done: fires with that protocol; fails with TlsRefusedError, or as the connection ended. Cancelling
        it aborts the connection.
    """

    transport: TlsWire

    def __init__(self, factory: IProtocolFactory, address: Any) -> None:
        self.done: Deferred[IProtocol] = Deferred(self._cut)
        self._factory = factory
        self._address = address

    def handshakeCompleted(self) -> None:
        """See :class:`~twisted.internet.interfaces.IHandshakeListener`."""
        tls = self.transport
        protocol = self._factory.buildProtocol(self._address)
        assert protocol is not None
        tls.wrappedProtocol = protocol
        protocol.makeConnection(tls)
        self.done.callback(protocol)

    def _cut(self, _: Deferred[IProtocol]) -> None:
        self.transport.abortConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        verdict = self.transport.verdict
        if verdict:
            reason = Failure(TlsRefusedError("shows a certificate that cannot be verified", verdict))
        elif isinstance(reason.value, SSL.Error):
            reason = Failure(refusal(reason.value))
        if not self.done.called:
            self.done.errback(reason)


class _Handshakes(Factory):
    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: Any) -> _Handshake:
        return _Handshake(self._factory, addr)


class _Wires(TLSMemoryBIOFactory):
    protocol = TlsWire
    noisy = False


@implementer(IStreamClientEndpoint)
class TlsEndpoint:
    """Connects by *endpoint* and then by TLS.

    :param context: says who is trusted, and what is shown.
    :param host: a name or an address, for which the certificate must be.
    """

    def __init__(
        self, reactor: Any, endpoint: IStreamClientEndpoint, context: SSL.Context, host: str
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._verifier = _Verifier(context, host)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        :return: fires with the protocol once the handshake is over; fails with :exc:`TlsRefusedError`, or as
            the connection does. Cancelling it closes the connection at once, in whatever state.
        """
        wires = _Wires(self._verifier, True, _Handshakes(protocolFactory), self._reactor)

        def shake(tls: Any) -> Deferred[IProtocol]:
            done: Deferred[IProtocol] = tls.handshake.done
            return done

        return self._endpoint.connect(wires).addCallback(shake)


class TlsWatch:
    """Tells in the log why there is no TLS with an owner, and when there is again: each time it changes.

    :param endpoint: its URL.
    """

    def __init__(self, owner: str, endpoint: str) -> None:
        self._owner = owner
        self._endpoint = endpoint
        self._reason = ""

    def answered(self, response: Any) -> Any:
        """It has answered, over TLS."""
        if self._reason:
            self._reason = ""
            _log.info("owner_tls", owner=self._owner, endpoint=self._endpoint, reason="well again")
        return response

    def failed(self, failure: Failure) -> Failure:
        """It has not.

        :return: *failure*; where the owner has let the handshake pass and then refused the node's
            certificate, one with the :exc:`TlsRefusedError` that it comes to.
        """
        cause = root_cause(failure)
        if isinstance(cause, SSL.Error) and is_about_ours(cause):
            cause = refusal(cause)
            failure = Failure(cause)
        if isinstance(cause, TlsRefusedError) and cause.reason != self._reason:
            self._reason = cause.reason
            _log.warn("owner_tls", owner=self._owner, endpoint=self._endpoint, reason=cause.reason)
        return failure


def is_about_ours(error: SSL.Error) -> bool:
    """Whether *error* is the alert of an owner that does not take the node's certificate."""
    return any("alert" in each and any(word in each for word in _ABOUT_OURS) for each in _reasons(error))


def _reasons(error: SSL.Error) -> list[str]:
    found = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return [str(each[-1]) for each in found if each]


def refusal(error: SSL.Error) -> TlsRefusedError:
    """Return what *error* of OpenSSL says of an owner."""
    said = printable("; ".join(_reasons(error)))[:200] or "the handshake failed"
    if is_about_ours(error):
        return TlsRefusedError("does not accept the node's certificate", f"it answered: {said}")
    if any(word in said for word in _NO_TLS):
        return TlsRefusedError("does not speak TLS", "what it answered is no TLS")
    return TlsRefusedError("cannot be reached over TLS", said)
