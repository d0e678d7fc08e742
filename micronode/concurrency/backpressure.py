"""Gates: how many calls may be worked on at a time. A full gate answers at once, it never queues."""

from __future__ import annotations


class Gate:
    """A count of permits with a limit.

    :ivar limit: how many permits there are. It may be set at any time: where more are out than it says,
        none is given until there are fewer.
    :ivar in_use: how many are out.
    """

    __slots__ = ("in_use", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0

    def try_acquire(self) -> bool:
        """Take a permit if one is free; whoever got one calls :meth:`release` exactly once."""
        if self.in_use >= self.limit:
            return False
        self.in_use += 1
        return True

    def release(self) -> None:
        """Give a permit back."""
        if self.in_use == 0:
            raise RuntimeError("a permit was released twice")
        self.in_use -= 1
