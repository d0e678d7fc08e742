"""How the node speaks TLS to an owner, or a custom facet's upstream: whom it believes that they are who they
say, and how it is known to them itself.

The files that a configuration names are read here, when it is checked or prepared, and never later: what is
wrong with one is a :exc:`ConfigError` at the place of its key, and what is in them by then is what every
connection uses, until a reload reads them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Final, Protocol

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.ssl import Certificate as TrustedCertificate
from twisted.internet.ssl import CertificateOptions, platformTrust, trustRootFromCertificates

from micronode.config.problems import ConfigError, Problem, RefusedError, printable
from micronode.config.schema import BUILT_OWNERS, OWNER_NAMES, Config, OwnFacet
from micronode.config.url import OwnerUrl
from micronode.security.pem import read_certificates, read_key, read_pem

#: What the node speaks over TLS.
_ALPN: Final = [b"http/1.1"]
_KEYS: Final = ("ca", "certificate", "private_key")


class TlsKeys(Protocol):
    """A section of the configuration that says how something is reached over TLS: paths, or nothing."""

    @property
    def ca(self) -> str:
        """File of the authorities; the system's where there is none."""

    @property
    def certificate(self) -> str:
        """File of the node's own certificate and its chain."""

    @property
    def private_key(self) -> str:
        """File of that certificate's key."""


@attrs.frozen
class Identity:
    """What connections to one owner are made with. Two are equal where their files say the same."""

    #: For each key that names a file the SHA-256 of what is in it.
    files: Mapping[str, str] = attrs.field(factory=dict)
    context: SSL.Context = attrs.field(kw_only=True, eq=False, repr=False)


@cache
def system_identity() -> Identity:
    """Return the one that trusts whom the system trusts, and has no certificate itself."""
    return Identity(context=_context(CertificateOptions(trustRoot=platformTrust())))


def read_identity(section: TlsKeys, place: Callable[[str], str], known: Identity | None = None) -> Identity:
    """Read the files that *section* names.

    :param place: tells where the value of one of its keys comes from.
    :param known: what they said before: returned where they say the same, which takes no parsing of them.
    :raises ConfigError: one is of no use, or they do not fit together.
    """
    paths = {name: path for name in _KEYS if (path := getattr(section, name))}
    if not paths:
        return system_identity()
    refused: dict[str, RefusedError] = {}
    data: dict[str, bytes] = {}
    for name, path in paths.items():
        try:
            data[name] = read_pem(path, secret=name == "private_key")
        except RefusedError as error:
            refused[name] = error
    files = {name: hashlib.sha256(each).hexdigest() for name, each in data.items()}
    if known is not None and known.files == files and not refused:
        return known
    certificates: dict[str, list[crypto.X509]] = {}
    key: crypto.PKey | None = None
    for name, each in data.items():
        try:
            if name == "private_key":
                key = read_key(paths[name], each)
            else:
                certificates[name] = read_certificates(paths[name], each)
        except RefusedError as error:
            refused[name] = error
    if refused:
        raise ConfigError(
            [Problem(place(name), refused[name].what, refused[name].fix) for name in sorted(refused)]
        )
    try:
        context = _make_context(certificates, key)
    except (SSL.Error, crypto.Error, ValueError):
        raise ConfigError([_unusable(paths, place)]) from None
    return Identity(files, context=context)


def read_identities(config: Config, known: Mapping[str, Identity]) -> dict[str, Identity]:
    """Read what *config* names for each owner, and upstream of a facet, that is reached by ``https://``.

    :param known: those in force, by the name of owner or facet; one whose files say the same stays the same
        object.
    :raises ConfigError: a file is of no use.
    """
    found: dict[str, Identity] = {}
    problems: list[Problem] = []
    for name, section in _over_tls(config):
        try:
            found[name] = read_identity(section, _placer(config, _path(name)), known.get(name))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return found


def rewritten(known: Mapping[str, Identity], read: Mapping[str, Identity]) -> Iterator[str]:
    """Yield the paths of the keys whose files say something else now, of owners that are in both."""
    for name, identity in read.items():
        before = known.get(name)
        if before is not None:
            for key, digest in identity.files.items():
                if before.files.get(key, digest) != digest:
                    yield f"{_path(name)}.{key}"


def _placer(config: Config, section: str) -> Callable[[str], str]:
    return lambda key: config.place(f"{section}.{key}")


def _path(name: str) -> str:
    """Return the section of the owner or facet *name*; none is both."""
    return f"{'owners' if name in OWNER_NAMES else 'facets'}.{name}"


def _over_tls(config: Config) -> Iterator[tuple[str, TlsKeys]]:
    for name in BUILT_OWNERS:
        owner = config.owners[name]
        if any(OwnerUrl.parse(url).tls for url in owner.url):
            yield name, owner
    for name, facet in config.facets.items():
        if not isinstance(facet, OwnFacet) or not facet.enabled:
            continue
        if facet.upstream and OwnerUrl.parse(facet.upstream).tls:
            yield name, facet


def _make_context(certificates: Mapping[str, list[crypto.X509]], key: crypto.PKey | None) -> SSL.Context:
    """Return the context of what is in the files, by their keys; what is raised is OpenSSL's."""
    trust = platformTrust()
    if "ca" in certificates:
        trust = trustRootFromCertificates([TrustedCertificate(each) for each in certificates["ca"]])
    if key is None or "certificate" not in certificates:
        return _context(CertificateOptions(trustRoot=trust))
    own, *chain = certificates["certificate"]
    options = CertificateOptions(privateKey=key, certificate=own, extraCertChain=chain, trustRoot=trust)
    return _context(options)


def _context(options: CertificateOptions) -> SSL.Context:
    """Return the context that *options*, TLS 1.2 and 1.3 of Twisted's choice of ciphers, make."""
    context = options.getContext()
    context.set_alpn_protos(_ALPN)
    # An owner has no reason to begin a handshake again, which costs the node more than it costs him.
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    # Whoever is named is trusted, also one that another authority stands above, or the owner itself.
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    return context


def _unusable(paths: Mapping[str, str], place: Callable[[str], str]) -> Problem:
    """Return the problem of files that can each be read, and of which OpenSSL makes no context."""
    if "private_key" not in paths:
        name = next(iter(paths))
        what = f"{printable(paths[name])} holds a certificate that TLS cannot use"
        return Problem(place(name), what, "leave it out of the file")
    key, certificate = printable(paths["private_key"]), printable(paths["certificate"])
    return Problem(
        place("private_key"),
        f"{key} is not the key of the first certificate in {certificate}, or too weak for TLS",
        "name the key that the certificate was made for; its own certificate comes first in a chain",
    )
