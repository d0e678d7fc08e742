"""The overlay owner: objects that storage lacks, which it fetches from peers. Nothing is put there."""

from __future__ import annotations

from micronode.adapters.objects import ObjectClient


class OverlayClient(ObjectClient):
    """See :class:`~micronode.interfaces.IObjectOwner`."""
