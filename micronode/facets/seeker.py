"""A subscriber, as far as whoever asks the mailbox for it needs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from micronode.facets.messages import Received

#: A topic of a tenant.
Place = tuple[bytes, str]


class Seeker(Protocol):
    """A subscriber, as far as polls need it."""

    @property
    def place(self) -> Place:
        """What it is subscribed to."""

    @property
    def token_id(self) -> str | None:
        """Whose token it shows. The owner hears of it, and may answer another's otherwise."""

    @property
    def max_bytes(self) -> int:
        """Bytes of the longest message that it takes, and of all it takes at a time."""

    @property
    def visibility_ms(self) -> int:
        """How long a message is its alone."""

    def poll(self, wait_s: float) -> Deferred[Sequence[Received]]:
        """Ask the owner for messages, which may wait for some; fails with NodeError."""

    def give_back(self, messages: Sequence[Received]) -> Deferred[None]:
        """Give *messages* back to the owner. The Deferred never fails."""
