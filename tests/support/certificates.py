"""Authorities of a test's own, and what they sign."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

_DAY = datetime.timedelta(days=1)
SERVER, CLIENT = Usage.SERVER_AUTH, Usage.CLIENT_AUTH


@attrs.frozen
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def locked_key_pem(self, passphrase: bytes) -> bytes:
        encryption = BestAvailableEncryption(passphrase)
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def save(self, folder: Path, name: str, *behind: Signed) -> tuple[str, str]:
        """Write it, and those of the chain *behind* it, to files; return their paths, certificate and key."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(b"".join(each.pem for each in (self, *behind)))
        key.write_bytes(self.key_pem)
        key.chmod(0o640)
        return str(certificate), str(key)

    def sign(
        self,
        *names: str,
        usage: Any = SERVER,
        days: tuple[int, int] = (-1, 1),
        authority: bool = False,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> Signed:
        """Return a certificate for *names*, DNS names and addresses.

        :param days: when it is valid, from now.
        :param key: for which it is; None: a new one.
        """
        return _make(names or ("nobody",), self, usage, days, authority, key)


def make_authority(name: str = "authority", *, days: tuple[int, int] = (-1, 1)) -> Signed:
    """Return an authority that has signed itself."""
    return _make((name,), None, None, days, True)


def make_self_signed(*names: str) -> Signed:
    """Return an owner's certificate that has signed itself."""
    return _make(names, None, SERVER, (-1, 1), False)


def _make(
    names: tuple[str, ...],
    issuer: Signed | None,
    usage: Any,
    days: tuple[int, int],
    authority: bool,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Signed:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    signer = issuer or Signed(None, key)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        named = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = builder.add_extension(named, critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Signed(builder.sign(signer.key, hashes.SHA256()), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class OwnerTls:
    """An owner's end of TLS on a connection in memory (:class:`tests.support.network.OwnerEnd`).

    :ivar heard: what came out of it.
    """

    def __init__(self, end: Any, shown: Signed, *, callers: Signed | None = None) -> None:
        """:param callers: whose certificates a caller must show."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(crypto.X509.from_cryptography(shown.certificate))
        context.use_privatekey(crypto.PKey.from_cryptography_key(shown.key))
        if callers is not None:
            store = context.get_cert_store()
            assert store is not None
            store.add_cert(crypto.X509.from_cryptography(callers.certificate))
            context.set_verify(
                SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *said: bool(said[-1])
            )
        self.heard = b""
        self._end = end
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()

    def pump(self) -> bytes:
        """Pass bytes to and fro until there are none; return what the node has said in all."""
        while not self._end.closed and (data := self._end.heard()):
            self._connection.bio_write(data)
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    self.heard += self._connection.recv(65_536)
            self._flush()
        return self.heard

    def send(self, data: bytes) -> None:
        self._connection.send(data)
        self._flush()

    def end(self) -> None:
        """Say that there is no more, and let the connection beneath be."""
        self._connection.shutdown()
        self._flush()

    def asked_for(self) -> bytes | None:
        """Return the name that the node has asked for (SNI)."""
        return self._connection.get_servername()

    def shown(self) -> x509.Certificate | None:
        """Return the certificate that the node has shown."""
        found = self._connection.get_peer_certificate()
        return None if found is None else found.to_cryptography()

    def _flush(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while not self._end.closed:
                self._end.send(self._connection.bio_read(65_536))
