"""micronode drain: it has begun, or why not."""

from __future__ import annotations

import json

from micronode.cli.main import main
from tests.cli.support import CommandTestCase
from tests.support.canned import CannedPeer, response


class DrainTests(CommandTestCase):
    def drain(self, value: object, *argv: str, status: int = 200) -> int:
        self.peer = CannedPeer(self, response(value, status))
        return main(["drain", "--admin", self.peer.where, *argv])

    def test_has_begun(self) -> None:
        self.assertEqual(self.drain({"state": "draining"}), 0)
        self.assertRegex(self.printed, r"\A\S+ is draining; it ends when .*\n\Z")
        self.assertTrue(self.peer.asked[0].startswith(b"POST /api/v1/drain HTTP/1.1\r\n"))

    def test_json(self) -> None:
        self.assertEqual(self.drain({"state": "draining"}, "--json"), 0)
        self.assertEqual(json.loads(self.printed), {"state": "draining"})

    def test_refused(self) -> None:
        self.assertEqual(self.drain({"code": "unauthorized", "message": "send SIGTERM"}, status=401), 1)
        self.assertEqual(self.complained, f"micronode: {self.peer.where} refuses: send SIGTERM\n")

    def test_another_error(self) -> None:
        self.assertEqual(self.drain({"code": "internal", "message": "a defect"}, status=500), 1)
        self.assertEqual(self.complained, f"micronode: {self.peer.where}: a defect\n")
