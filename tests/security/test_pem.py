"""micronode.security.pem."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.problems import RefusedError
from micronode.security.pem import MAX_PEM_BYTES, read_certificates, read_key, read_pem
from tests.support.certificates import make_authority


class PemCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, data: bytes, mode: int = 0o600) -> str:
        path = self.folder / "file"
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    def refused(self, what: str, read: Callable[..., Any], *args: Any, **named: Any) -> RefusedError:
        error = self.assertRaises(RefusedError, read, *args, **named)
        self.assertRegex(error.what, what)
        self.assertTrue(error.fix)
        return error


class ReadTests(PemCase):
    def test_whole(self) -> None:
        self.assertEqual(read_pem(self.write(b"x" * MAX_PEM_BYTES, 0o644)), b"x" * MAX_PEM_BYTES)

    def test_too_long(self) -> None:
        self.refused("larger than 1 MiB", read_pem, self.write(b"x" * (MAX_PEM_BYTES + 1)))

    def test_what_is_no_file(self) -> None:
        """Nobody is waited for, and nothing is read for ever."""
        pipe = str(self.folder / "pipe")
        os.mkfifo(pipe)
        for path in (pipe, "/dev/zero", str(self.folder)):
            self.refused("it is no file", read_pem, path)

    def test_missing(self) -> None:
        self.refused("cannot read .*: no such file", read_pem, str(self.folder / "none"))
        self.refused("cannot read", read_pem, "a\0b")

    def test_where_a_path_begins(self) -> None:
        """It is told only of those that do not say so."""
        error = self.refused("cannot read none.pem: no such file", read_pem, "none.pem")
        self.assertIn(f"from the working directory, {os.getcwd()})", error.fix)
        error = self.refused("no such file", read_pem, str(self.folder.resolve() / "none"))
        self.assertNotIn("working directory", error.fix)

    def test_secrets(self) -> None:
        """A group may read one, everybody not."""
        for mode in (0o600, 0o640, 0o440):
            self.assertEqual(read_pem(self.write(b"x", mode), secret=True), b"x")
            (self.folder / "file").unlink()
        for mode in (0o644, 0o604, 0o602):
            error = self.refused("every user", read_pem, self.write(b"x", mode), secret=True)
            self.assertIn("chmod o= ", error.fix)
            self.assertEqual(read_pem(self.write(b"x", mode)), b"x")

    def test_no_descriptor_is_left(self) -> None:
        path, before = self.write(b"x", 0o644), len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            read_pem(path)
            self.refused("every user", read_pem, path, secret=True)
            self.refused("no file", read_pem, str(self.folder))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class ParseTests(PemCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = make_authority()

    def test_certificates(self) -> None:
        other = make_authority("other")
        data = b"# a comment\n" + self.authority.pem + b"\n" + other.pem
        found = read_certificates("f", data)
        names = [each.get_subject().CN for each in found]
        self.assertEqual(names, ["authority", "other"])

    def test_no_certificates(self) -> None:
        for data in (
            b"",
            b"\0" * 9,
            b"text",
            self.authority.key_pem,
            self.authority.pem[:200],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            self.authority.pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ):
            error = self.refused(
                "^f is no PEM file of certificates$|^'f' is no", read_certificates, "f", data
            )
            self.assertNotIn("AAAA", str(error))

    def test_certificates_of_which_one_is_cut_short(self) -> None:
        """As in a file that is just being written: who is missing there must not be missed later."""
        other = make_authority("other").pem
        for length in (11, 20, 40, 200, len(other) - 30, len(other) - 2):
            self.refused(
                "holds a block that is cut short", read_certificates, "f", self.authority.pem + other[:length]
            )
        trusted = other.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")
        self.refused("or is no certificate", read_certificates, "f", self.authority.pem + trusted)

    def test_certificates_beside_a_key(self) -> None:
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        data = parameters + self.authority.key_pem + self.authority.pem
        self.assertEqual(len(read_certificates("f", data)), 1)

    def test_key(self) -> None:
        self.assertEqual(read_key("f", self.authority.key_pem).bits(), 256)

    def test_no_key(self) -> None:
        for data in (b"", b"\0" * 9, self.authority.pem, self.authority.key_pem[:60]):
            self.refused("is no PEM file of a private key", read_key, "f", data)

    def test_an_encrypted_key_asks_nobody(self) -> None:
        for passphrase in (b"x", b"secret"):
            data = self.authority.locked_key_pem(passphrase)
            error = self.refused("is encrypted", read_key, "f", data)
            self.assertIn("decrypted", error.fix)
