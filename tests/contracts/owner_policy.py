"""What a policy owner promises, whatever its rules are; to be mixed into a ``SynchronousTestCase``."""

from __future__ import annotations

from typing import Any

from tests.contracts.owner import OwnerContract

QUESTION: dict[str, Any] = {
    "tenant": "0" * 32,
    "token_id": "1" * 32,
    "facet": "search",
    "op": "query",
    "method": "GET",
}


class PolicyOwnerContract(OwnerContract):
    """The conformance suite."""

    refused = (("GET", "/v1/decide", 405), ("POST", "/v1", 404), ("POST", "/v1/decide/x", 404))

    def test_a_decision(self) -> None:
        case: Any = self
        nobody = {"tenant": None, "token_id": None}
        for question in (QUESTION, {**QUESTION, **nobody}, {"facet": "a", "op": "b", "method": "C"}):
            answer = self.ask_json("POST", "/v1/decide", question)
            case.assertEqual(answer.status, 200, answer.body)
            said = answer.json
            case.assertIn(said["action"], ("allow", "deny"))
            case.assertTrue(said["rule"])
            case.assertIsInstance(said["reason"], str)
            case.assertGreaterEqual(said["ttl_s"], 0)
            case.assertLessEqual(set(said), {"action", "rule", "reason", "ttl_s", "max_bytes"})

    def test_the_same_question_the_same_answer(self) -> None:
        case: Any = self
        first, second = (self.ask_json("POST", "/v1/decide", QUESTION).json for _ in range(2))
        case.assertEqual(first, second)

    def test_malformed(self) -> None:
        for name in ("facet", "op", "method"):
            for value in (None, "", 1, "x" * 2000):
                answer = self.ask_json("POST", "/v1/decide", {**QUESTION, name: value})
                self.check_error(answer, 400, "bad_request")
        self.check_error(self.ask_json("POST", "/v1/decide", {**QUESTION, "tenant": 7}), 400, "bad_request")
        for body in (b"", b"[]", b"{"):
            self.check_error(self.ask("POST", "/v1/decide", body), 400, "bad_request")
        self.check_error(self.ask("POST", "/v1/decide", bytes(100_000)), 413, "body_too_large")
