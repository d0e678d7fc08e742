"""The contracts of owner services, held against URLs: of the reference owners, or of yours.

From a shell: ``python -m tests.support.ownersuites mailbox=http://127.0.0.1:5322 policy=unix:/run/policy``.
An overlay needs ``storage``, too: one of its peers. The index is asked for ``twisted`` and ``reactor``.
"""

from __future__ import annotations

import sys
import unittest
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.owner import AtURL, OwnerContract, ask_url
from tests.contracts.owner_index import IndexOwnerContract
from tests.contracts.owner_mailbox import MailboxOwnerContract
from tests.contracts.owner_overlay import OverlayOwnerContract
from tests.contracts.owner_policy import PolicyOwnerContract
from tests.contracts.owner_storage import StorageOwnerContract


class _Index(IndexOwnerContract):
    known = "twisted"
    word = "reactor"


class _Overlay(OverlayOwnerContract):
    """Puts objects where its peer has them."""

    peer = ""

    def put(self, data: bytes, content_type: str) -> str:
        return ask_url(self.peer, "POST", "/o", data, Content_Type=content_type).json["cid"]  # type: ignore[no-any-return]


CONTRACTS: Mapping[str, type[OwnerContract]] = {
    "index": _Index,
    "mailbox": MailboxOwnerContract,
    "storage": StorageOwnerContract,
    "overlay": _Overlay,
    "policy": PolicyOwnerContract,
}


def run(urls: Mapping[str, str]) -> unittest.TestResult:
    """Hold each owner in *urls* to its contract; return what came of it."""
    suite = unittest.TestSuite()
    for name, url in urls.items():
        members = {"url": url, "peer": urls.get("storage", "")}
        made = type(f"{name}_contract", (AtURL, CONTRACTS[name], SynchronousTestCase), members)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(made))
    result = unittest.TestResult()
    suite.run(result)
    return result


def failures(result: unittest.TestResult) -> str:
    """Return what failed, as a text; empty if nothing did."""
    return "\n".join(f"{case}\n{text}" for case, text in [*result.failures, *result.errors])


if __name__ == "__main__":
    done = run(dict(argument.split("=", 1) for argument in sys.argv[1:]))
    print(failures(done) or f"{done.testsRun} tests passed")
    sys.exit(not done.wasSuccessful())
