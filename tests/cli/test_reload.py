"""micronode reload: what came of it, what would, and how either is told."""

from __future__ import annotations

import json
from typing import Any

import attrs

from micronode.cli.main import main
from micronode.config.hot_reload import Change, Outcome
from micronode.config.problems import Problem
from tests.cli.support import CommandTestCase
from tests.support.canned import CannedPeer, response

SHA = "0123456789abcdef"
APPLIED = Outcome(
    outcome="applied",
    config_sha=SHA,
    changes=(
        Change(path="drain.grace", source="node.toml:2", live=True),
        Change(path="http.listen", source="env MICRONODE_HTTP_LISTEN", live=False),
    ),
    warnings=("ignored MICRONODE_PORT",),
)
UNCHANGED = Outcome(outcome="unchanged", config_sha=SHA)
REFUSED = Outcome(
    outcome="refused",
    config_sha=SHA,
    problems=(Problem("node.toml:1", "x is unknown", "remove it"), Problem("", "7 more", "correct these")),
)
ERROR = {"code": "config_refused", "message": "no", "retryable": False, "request_id": "r"}


class ReloadTestCase(CommandTestCase):
    def reload(self, value: Outcome | dict[str, Any], *argv: str, status: int = 200) -> int:
        body = value.as_dict() if isinstance(value, Outcome) else value
        self.peer = CannedPeer(self, response(body, status))
        return main(["reload", "--admin", self.peer.where, *argv])


class ReloadTests(ReloadTestCase):
    def test_applied(self) -> None:
        self.assertEqual(self.reload(APPLIED), 0)
        self.assertEqual(
            self.printed.splitlines(),
            [
                "reloaded: 1 key changed; 1 needs a restart (sha 0123456789ab)",
                "  drain.grace  node.toml:2",
                "  http.listen  env MICRONODE_HTTP_LISTEN  needs a restart",
            ],
        )
        self.assertEqual(self.complained, "micronode: warning: ignored MICRONODE_PORT\n")
        self.assertTrue(self.peer.asked[0].startswith(b"POST /api/v1/reload HTTP/1.1\r\n"))

    def test_unchanged(self) -> None:
        self.assertEqual(self.reload(UNCHANGED), 0)
        self.assertEqual(self.printed, "reloaded: nothing changed (sha 0123456789ab)\n")

    def test_not_done(self) -> None:
        for outcome, status, why in (
            (REFUSED, 422, "the configuration is refused"),
            (Outcome(outcome="draining", config_sha=SHA), 409, "the node is stopping"),
            (Outcome(outcome="failed", config_sha=SHA), 500, "its log says why"),
        ):
            self.assertEqual(self.reload(ERROR | outcome.as_dict(), status=status), 1)
            self.assertRegex(self.complained, f"not reloaded: .*{why}; 0123456789ab stays in force\n\\Z")
        self.assertEqual(self.printed, "")
        self.assertIn("micronode: node.toml:1: x is unknown; remove it\nmicronode: 7 more; ", self.complained)

    def test_what_is_hidden(self) -> None:
        hidden = "drain.grace of e.toml:8 is hidden by env MICRONODE_DRAIN_GRACE"
        self.assertEqual(self.reload(attrs.evolve(UNCHANGED, hidden=(hidden,))), 0)
        self.assertEqual(self.complained, f"micronode: {hidden}\n")
        of_before = UNCHANGED.as_dict()
        del of_before["hidden"]
        self.assertEqual(self.reload(of_before), 0)

    def test_json(self) -> None:
        self.assertEqual(self.reload(APPLIED, "--json"), 0)
        self.assertEqual(json.loads(self.printed), APPLIED.as_dict())
        self.assertEqual(self.complained, "")
        refused = ERROR | REFUSED.as_dict()
        before = self.printed
        self.assertEqual(self.reload(refused, "--json", status=422), 1)
        self.assertEqual(json.loads(self.printed.removeprefix(before)), refused)

    def test_another_error(self) -> None:
        self.assertEqual(self.reload(ERROR | {"message": "too\nlarge"}, status=413), 1)
        self.assertEqual(self.complained, f"micronode: {self.peer.where}: too large\n")

    def test_nobody_may_yet(self) -> None:
        message = "this needs a capability; send SIGHUP"
        self.assertEqual(self.reload({"code": "unauthorized", "message": message}, status=401), 1)
        self.assertEqual(self.complained, f"micronode: {self.peer.where} refuses: {message}\n")

    def test_another_shape(self) -> None:
        whole = APPLIED.as_dict()
        for name in ("config_sha", "changes", "problems", "warnings", "hidden"):
            for value in (None, 7, [7], {"a": 1}):
                self.assertIn(self.reload(whole | {name: value}), (0, 1, 69))
        self.assertNotIn("Traceback", self.complained)


class DryRunTests(ReloadTestCase):
    def test_would_work(self) -> None:
        self.assertEqual(self.reload(attrs.evolve(APPLIED, outcome="would_apply"), "--dry-run"), 0)
        self.assertEqual(
            self.printed.splitlines()[0],
            "would change 1 key; 1 needs a restart (sha 0123456789ab is in force)",
        )
        self.assertEqual(self.printed.count("needs a restart"), 2)
        self.assertTrue(self.peer.asked[0].startswith(b"GET /api/v1/reload HTTP/1.1\r\n"))

    def test_would_do_nothing(self) -> None:
        self.assertEqual(self.reload(UNCHANGED, "--dry-run"), 0)
        self.assertEqual(self.printed, "would change nothing (sha 0123456789ab is in force)\n")

    def test_would_be_refused(self) -> None:
        self.assertEqual(self.reload(REFUSED, "--dry-run"), 78)
        self.assertEqual(
            self.complained.splitlines(),
            [
                "micronode: node.toml:1: x is unknown; remove it",
                "micronode: 7 more; correct these",
                "micronode: would not reload: the configuration is refused",
            ],
        )
        self.assertEqual(self.reload(REFUSED, "--dry-run", "--json"), 78)
        self.assertEqual(json.loads(self.printed), REFUSED.as_dict())

    def test_would_fail(self) -> None:
        for outcome in ("draining", "failed"):
            self.assertEqual(self.reload(Outcome(outcome=outcome, config_sha=SHA), "--dry-run"), 1)
