"""PEM files: read within bounds and parsed, or refused in words that tell what to do.

Nothing of a file's content gets into a message.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Final

from cryptography import x509
from OpenSSL import crypto

from micronode.config.problems import RefusedError, printable

#: All authorities that an operating system trusts are a quarter of this.
MAX_PEM_BYTES: Final = 1_048_576
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH
#: What begins a block, but for those of a key beside the certificates; a block cut in writing may end so.
_BEGUN: Final = re.compile(rb"-----BEGIN(?! [A-Z0-9 ]*(?:KEY|PARAMETERS)-----)")


def read_pem(path: str, *, secret: bool = False) -> bytes:
    """Return what is in the file at *path*.

    :param secret: whether it must not be open to other users; a group may read it.
    :raises RefusedError: it is missing, unreadable, no file, too long, or open to others.
    """
    shown = printable(path)
    fix = f"name a PEM file that can be read{_beginning(path)}"
    try:
        # Not to wait for whoever writes to a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise RefusedError(f"cannot read {shown}: {reason}", fix) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise RefusedError(f"cannot read {shown}: it is no file", "name a PEM file")
        if secret and mode & _OTHERS:
            raise RefusedError(f"{shown} is a private key that every user can read", f"chmod o= {shown}")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise RefusedError(f"cannot read {shown}: {reason}", fix) from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_PEM_BYTES:
        raise RefusedError(f"{shown} is larger than 1 MiB", "name a PEM file of certificates or a key")
    return data


def _beginning(path: str) -> str:
    """Return where *path* begins if it does not say so itself: not at the file that names it."""
    try:
        return "" if os.path.isabs(path) else f" (from the working directory, {printable(os.getcwd())})"
    except OSError:
        return " (from the working directory, which has gone)"


def read_certificates(path: str, data: bytes) -> list[crypto.X509]:
    """Return the certificates in *data*, in their order; there is one at least.

    :raises RefusedError: there is none, one that is broken, or a block that is none.
    """
    try:
        # X509's own constructor takes one, and says nothing of others behind it.
        found = [crypto.X509.from_cryptography(each) for each in x509.load_pem_x509_certificates(data)]
    except Exception:
        # Whatever a parser raises at bytes that are none.
        raise RefusedError(
            f"{printable(path)} is no PEM file of certificates",
            "it holds one or more blocks -----BEGIN CERTIFICATE-----",
        ) from None
    # What has no end, or another label, is passed over by the parser, and whoever it names would be missing.
    if len(found) != len(_BEGUN.findall(data)):
        raise RefusedError(
            f"{printable(path)} holds a block that is cut short, or is no certificate",
            "every block begins and ends as -----BEGIN CERTIFICATE----- does; write such a file whole, and "
            "then rename it",
        )
    return found


def read_key(path: str, data: bytes) -> crypto.PKey:
    """Return the private key in *data*.

    :raises RefusedError: there is none, or it is encrypted.
    """
    if b"ENCRYPTED" in data:
        raise RefusedError(
            f"{printable(path)} is encrypted, and there is nobody to ask for its passphrase",
            "store it decrypted, readable by the node alone",
        )
    try:
        # Never to ask on a terminal.
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase=b"")
    except Exception:
        raise RefusedError(
            f"{printable(path)} is no PEM file of a private key",
            "it holds a block -----BEGIN PRIVATE KEY-----",
        ) from None
