"""What an overlay owner promises: of an object that a peer has, what storage does of its own."""

from __future__ import annotations

from typing import Any

from tests.contracts.owner_storage import NOBODYS, ObjectsContract


class OverlayOwnerContract(ObjectsContract):
    """The conformance suite; :meth:`put` puts an object where a peer has it."""

    refused = (*ObjectsContract.refused, ("POST", f"/o/{NOBODYS}", 405), ("POST", "/o", 404))

    def test_it_does_not_ask_for_another_overlay(self) -> None:
        case: Any = self
        cid = self.put(b"hello world", "text/plain")
        case.assertEqual(self.ask("GET", f"/o/{cid}").status, 200)
        self.check_error(self.ask("GET", f"/o/{cid}", Via="1.1 micronode-overlay"), 404)
