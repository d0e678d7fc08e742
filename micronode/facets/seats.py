"""Who waits for messages of a topic, and for whom is asked next; see :mod:`micronode.facets.polls`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from micronode.facets.messages import Received
from micronode.facets.seeker import Place, Seeker


@attrs.define(eq=False)
class Seat:
    """A subscriber that waits for messages."""

    seeker: Seeker
    got: Deferred[Sequence[Received]]
    #: Since when the owner has failed without an answer to one like it; None: it has not.
    failing_since: float | None = None


class Topic:
    """The subscribers of one place that wait, and how it went so far."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seats: deque[Seat] = deque()
        #: Until it is due; None: it is in the queue, or being polled.
        self.timer: IDelayedCall | None = None
        #: While it is polled: the poll, once that has begun.
        self.polled = False
        self.poll: Deferred[Any] | None = None
        self.giving_up: IDelayedCall | None = None
        self.settled: list[Deferred[None]] = []
        #: There is something new; noted while it is polled.
        self.woken = False
        self.pause_s = 0.0
        self.failures = 0


def fitting(seats: Iterable[Seat], seeker: Seeker) -> Iterator[Seat]:
    """Yield those of *seats* whose subscribers may have what was asked for by *seeker*."""
    for seat in seats:
        other = seat.seeker
        if (
            other.token_id == seeker.token_id
            and other.max_bytes >= seeker.max_bytes
            and other.visibility_ms == seeker.visibility_ms
        ):
            yield seat


def alike(one: Seeker, other: Seeker) -> bool:
    """Whether both would ask the same."""
    return (one.token_id, one.max_bytes, one.visibility_ms) == (
        other.token_id,
        other.max_bytes,
        other.visibility_ms,
    )


def let_others_ask(seats: deque[Seat], seeker: Seeker) -> None:
    """Put the first of *seats* that would ask otherwise than *seeker* first, if there is one."""
    for number, seat in enumerate(seats):
        if not alike(seat.seeker, seeker):
            seats.rotate(-number)
            break
