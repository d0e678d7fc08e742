"""Asking a node's admin plane: whatever may answer, or nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import micronode
from micronode.cli.adminclient import AdminClient, text_of
from micronode.cli.exits import CommandError
from micronode.cli.main import main
from tests.cli.support import CommandTestCase
from tests.support.canned import CannedPeer, nobody, response

#: The commands that ask a node.
COMMANDS = ("status", "reload", "drain")


class AskTests(CommandTestCase):
    def client(self, where: str, *, timeout_s: float = 30.0) -> AdminClient:
        host, _, port = where.rpartition(":")
        path = where.removeprefix("unix:") if where.startswith("unix:") else ""
        return AdminClient(host, 0 if path else int(port), path, capability=None, timeout_s=timeout_s)

    def refused(self, where: str, code: int, *, timeout_s: float = 30.0) -> str:
        error = self.assertRaises(CommandError, self.client(where, timeout_s=timeout_s).ask, "GET", "/x")
        self.assertEqual((error.code, len(error.lines)), (code, 1), error.lines)
        line = str(error.lines[0])
        self.assertIn(where, line)
        self.assertTrue(line.isprintable(), line)
        return line

    def test_over_both_kinds_of_socket(self) -> None:
        for unix in (False, True):
            peer = CannedPeer(self, response({"a": 1}, 503), unix=unix)
            self.assertEqual(self.client(peer.where).ask("POST", "/x"), (503, {"a": 1}))
            head = peer.asked[0]
            self.assertTrue(head.startswith(b"POST /x HTTP/1.1\r\n"), head)
            self.assertIn(b"Content-Length: 0\r\n", head)
            self.assertEqual(b"Authorization" in head, False)

    def test_nobody_there(self) -> None:
        self.assertIn("connection refused", self.refused(nobody(), 69))
        self.assertIn("no such file", self.refused("unix:/nowhere/admin", 69))

    def test_no_answer_in_time(self) -> None:
        for trickle_s in (30.0, 0.01):
            peer = CannedPeer(self, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 60_000, trickle_s=trickle_s)
            self.assertIn("within 0.1 s", self.refused(peer.where, 69, timeout_s=0.1))

    def test_a_body_that_trickles_in(self) -> None:
        for field in (b"Content-Length: 500", b"Connection: close"):
            head, body = b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n", b" " * 500
            peer = CannedPeer(self, head + body, trickle_s=0.01, at_once=len(head))
            self.assertIn("within 0.1 s", self.refused(peer.where, 69, timeout_s=0.1))
            self.assertLess(peer.sent, len(body))

    def test_no_answer_at_all(self) -> None:
        for answer in (
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        ):
            self.assertIn("closed the connection", self.refused(CannedPeer(self, answer).where, 69))

    def test_no_micronode(self) -> None:
        for answer, why in (
            (b"SSH-2.0-OpenSSH_9.2\r\n", "it does not speak HTTP"),
            (response(b"<html>"), "is not JSON"),
            (response(b"[" * 100_000), "is not JSON"),
            (response(b"[]"), "no JSON object"),
            (response(b"x" * 1_100_000), "over 1 MiB"),
        ):
            self.assertIn(why, self.refused(CannedPeer(self, answer).where, 69))

    def test_another_plane(self) -> None:
        peer = CannedPeer(self, response({"code": "not_found", "message": "x"}, 404))
        self.assertIn("does not know /x: is it the admin.listen", self.refused(peer.where, 69))

    def test_who_asks_is_refused(self) -> None:
        for status in (401, 403):
            peer = CannedPeer(self, response({"message": "send SIGHUP\x1b[2J\n"}, status))
            self.assertIn("refuses: send SIGHUP [2J", self.refused(peer.where, 1))

    def test_text(self) -> None:
        self.assertEqual(text_of("a\nb\x1b" + "c" * 1000), "a b " + "c" * 496)


class EveryCommandTests(CommandTestCase):
    """What all three of them do."""

    def test_nobody_there(self) -> None:
        for name in COMMANDS:
            self.assertEqual(main([name, "--admin", nobody()]), 69, name)
        self.assertEqual(len(self.complained.splitlines()), 3)

    def test_what_answers_is_something_else(self) -> None:
        for value in ({}, {"service": "other"}, {"ok": True}, {"outcome": 1}, {"state": "x"}):
            for name in COMMANDS:
                if (name, value) != ("drain", {"state": "x"}):
                    self.assertEqual(
                        main([name, "--admin", CannedPeer(self, response(value)).where]), 69, name
                    )
        self.assertEqual(self.complained.count("another shape"), len(self.complained.splitlines()))
        self.assertEqual(self.printed, "")

    def test_as_json_also_where_there_is_no_answer(self) -> None:
        refusal = response({"code": "unauthorized", "message": "send SIGHUP"}, 401)
        for name in COMMANDS:
            for where, code, said in (
                (nobody(), 69, "cannot connect"),
                (CannedPeer(self, response(b"<html>")).where, 69, "is not JSON"),
                (CannedPeer(self, refusal).where, 1, "refuses: send SIGHUP"),
            ):
                before = self.printed
                self.assertEqual(main([name, "--json", "--admin", where]), code, name)
                told = json.loads(self.printed.removeprefix(before))
                self.assertEqual(list(told), ["error"])
                self.assertIn(said, told["error"])
                self.assertIn(f"micronode: {told['error']}\n", self.complained)
        before = self.printed
        self.assertEqual(main(["status", "--quiet", "--json", "--admin", nobody()]), 69)
        self.assertEqual(self.printed, before)

    def test_they_start_fast(self) -> None:
        """No reactor, no Twisted, no schema: a probe asks every few seconds."""
        for name in COMMANDS:
            program = (
                "import sys; from micronode.cli.main import main\n"
                f"code = main([{name!r}, '--admin', {nobody()!r}])\n"
                "print(code, *sys.modules)"
            )
            done = subprocess.run(
                [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(_ROOT)!r}); {program}"],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            code, *modules = done.stdout.split()
            self.assertEqual(code, "69")
            heavy = {each for each in modules if each.partition(".")[0] in ("twisted", "zope", "cattrs")}
            self.assertEqual(heavy | {each for each in modules if each == "micronode.config.schema"}, set())


_ROOT = Path(micronode.__file__).parent.parent
