"""micronode.adapters.overlay."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.overlay import OverlayClient
from micronode.interfaces import IStorageOwner
from tests.adapters.test_objects import ObjectClientTests as _ObjectClientTests


class OverlayClientTests(_ObjectClientTests):
    client = OverlayClient


class NothingIsPutThereTests(SynchronousTestCase):
    def test_it_is_no_storage(self) -> None:
        self.assertFalse(IStorageOwner.implementedBy(OverlayClient))
        self.assertFalse(hasattr(OverlayClient, "put"))


del _ObjectClientTests
