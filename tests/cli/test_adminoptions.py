"""The options of the commands that ask a node: where it is, and who asks."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import micronode
from micronode.cli import streams
from micronode.cli.adminoptions import ADMIN_VARIABLE, DEFAULT_ADMIN, AdminOptions
from micronode.cli.exits import CommandError
from micronode.config.schema import KEYS
from tests.cli.support import CommandTestCase
from tests.support.canned import CannedPeer, response


def options(*argv: str) -> AdminOptions:
    found = AdminOptions("micronode any", "Do it.", ("dry-run", "Do not."))
    found.parse(argv)
    return found


class OptionsTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {})

    def where(self, *argv: str) -> str:
        return options(*argv).node().where

    def refused(self, *argv: str) -> str:
        error = self.assertRaises(CommandError, self.where, *argv)
        self.assertEqual((error.code, len(error.lines)), (64, 1))
        return str(error.lines[0])

    def test_the_table_s_default(self) -> None:
        self.assertEqual(DEFAULT_ADMIN, KEYS["admin.listen"].default)
        self.assertEqual(ADMIN_VARIABLE, KEYS["admin.listen"].variable)
        self.assertEqual(self.where(), DEFAULT_ADMIN)

    def test_where(self) -> None:
        os.environ[ADMIN_VARIABLE] = "127.0.0.1:1"
        self.assertEqual(self.where(), "127.0.0.1:1")
        self.assertEqual(self.where("--admin", "[::1]:2"), "[::1]:2")
        self.assertEqual(self.where("--admin=unix:/run/x"), "unix:/run/x")
        os.environ[ADMIN_VARIABLE] = ""
        self.assertEqual(self.where(), DEFAULT_ADMIN)

    def test_no_address(self) -> None:
        self.assertIn("--admin 'localhost': host and port are needed", self.refused("--admin", "localhost"))
        self.assertIn("nobody can connect to that; name the address", self.refused("--admin", "127.0.0.1:0"))
        os.environ[ADMIN_VARIABLE] = "nowhere"
        self.assertIn(f"env {ADMIN_VARIABLE} 'nowhere'", self.refused())

    def test_mistakes(self) -> None:
        for argv, text in (
            (["--dryrun"], "option --dryrun not recognized (did you mean --dry-run?)"),
            (["--json", "--json"], "--json is given twice"),
            (["now"], "unexpected argument 'now'"),
            (["--admin"], "option --admin requires argument"),
        ):
            line = self.refused(*argv)
            self.assertTrue(line.startswith(text), line)
            self.assertTrue(line.endswith("; see micronode any --help"), line)

    def test_help(self) -> None:
        for word in ("--help", "-h"):
            self.assertEqual(self.assertRaises(SystemExit, options, word).code, 0)
        self.assertIn("Usage: micronode any [options]\n", self.printed)
        self.assertRegex(self.printed, r"(?m)^      --admin=ADDRESS +The node's admin.listen")
        self.assertRegex(self.printed, r"(?m)^      --dry-run +Do not\.$")
        self.assertLessEqual(max(map(len, self.printed.splitlines())), 80)

    def test_version(self) -> None:
        self.assertRaises(SystemExit, options, "--version")
        self.assertEqual(self.printed, f"micronode {micronode.__version__}\n")

    def test_capability(self) -> None:
        path = Path(self.mktemp())
        for data in (b"", b"a b", b"a\nb\n", b"\xff", b"x" * 8193, b"secret\0"):
            path.write_bytes(data)
            line = self.refused("--cap-file", str(path))
            self.assertIn("holds no capability", line)
            self.assertNotIn("secret", line)
        self.assertIn("no such file", self.refused("--cap-file", "/nowhere/cap"))
        self.assertIn("is a directory", self.refused("--cap-file", "/"))
        peer = CannedPeer(self, response({}))
        path.write_bytes(b"x" * 8192 + b"\r\n")
        options("--admin", peer.where, "--cap-file", str(path)).node().ask("GET", "/")
        self.assertIn(b"\r\nAuthorization: Bearer " + b"x" * 8192 + b"\r\n", peer.asked[0])

    def test_capability_from_standard_input(self) -> None:
        peer = CannedPeer(self, response({}))
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\n")))
        options("--admin", peer.where, "--cap-file", "-").node().ask("GET", "/")
        self.assertIn(b"\r\nAuthorization: Bearer secret\r\n", peer.asked[0])
        self.patch(streams, "_missing", {"stdin"})
        self.assertIn("there is no standard input", self.refused("--cap-file", "-"))
