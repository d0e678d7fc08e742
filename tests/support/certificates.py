"""Authorities of a test's own, and what they sign."""

from __future__ import annotations

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
    ) -> Signed:
        """Return a certificate of its own for *names*, DNS names and addresses.

        :param days: when it is valid, from now.
        """
        return _make(names or ("nobody",), self, usage, days, authority)


def make_authority(name: str = "authority", *, days: tuple[int, int] = (-1, 1)) -> Signed:
    """Return an authority that has signed itself."""
    return _make((name,), None, None, days, True)


def make_self_signed(*names: str) -> Signed:
    """Return an owner's certificate that has signed itself."""
    return _make(names, None, SERVER, (-1, 1), False)


def _make(
    names: tuple[str, ...], issuer: Signed | None, usage: Any, days: tuple[int, int], authority: bool
) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
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
