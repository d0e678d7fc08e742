"""micronode.adapters.exchange."""

from __future__ import annotations

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from micronode.adapters.exchange import root_cause


class RootCauseTests(SynchronousTestCase):
    def test_unwraps(self) -> None:
        inner = ZeroDivisionError()
        wrapped = ResponseFailed([Failure(ResponseNeverReceived([Failure(inner)]))])
        self.assertIs(root_cause(Failure(wrapped)), inner)
        self.assertIs(root_cause(Failure(inner)), inner)
        empty = ResponseFailed([])
        self.assertIs(root_cause(Failure(empty)), empty)
