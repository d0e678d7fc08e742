"""The worlds that are explored, by name: each small enough that all of its orders are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from tests.interleavings import calls, doors, reloads


@attrs.frozen
class Explored:
    """A world, and how many orders it has at least: fewer, and it has lost some of what it was to show."""

    make: Callable[[], Any]
    least: int


WORLDS: Final[Mapping[str, Explored]] = {
    # Gates, and who leaves when.
    "two-calls-and-two-reloads": Explored(calls.make(callers=2, limit=2, limits=(1, 3)), 21_000),
    "three-calls-for-two-permits": Explored(calls.make(callers=3, limit=2), 19_000),
    "three-calls-and-a-smaller-limit": Explored(
        calls.make(callers=3, limit=2, limits=(1,), ends=("leave",)), 10_000
    ),
    # Queues: for a facet's permits, for the node's, and behind an owner that is slow to let go.
    "three-in-line-and-a-greater-limit": Explored(
        calls.make(callers=3, limit=1, queue=2, ends=("answer",), limits=(2,)), 14_000
    ),
    "three-in-line-for-the-node": Explored(
        calls.make(callers=3, limit=2, queue=1, max_calls=1, ends=("answer", "leave")), 5_000
    ),
    "three-in-line-and-haste": Explored(
        calls.make(callers=3, limit=1, queue=2, ends=("answer",), hurries=True), 2_500
    ),
    "in-line-behind-one-that-holds-on": Explored(
        calls.make(callers=2, slow=1, limit=1, queue=1, hurries=True), 19_000
    ),
    # What is let in ends at once, and asks again, within what let it in.
    "in-line-and-at-once": Explored(
        calls.make(
            callers=3,
            limit=1,
            queue=2,
            at_once=(2,),
            chained=((2, 3),),
            ends=("answer", "leave"),
            limits=(2,),
        ),
        6_000,
    ),
    "in-line-and-asking-again": Explored(
        calls.make(callers=4, limit=1, queue=2, chained=((1, 3), (2, 4)), ends=("answer", "leave")), 8_500
    ),
    # Reloads that are asked for while one is under way, fail, or meet a drain.
    "two-reloads": Explored(reloads.make(callers=1, reloads=2), 1_400),
    # Both doors.
    "http-and-oap": Explored(doors.make(http=1, oap=1), 7_500),
    "oap-that-does-not-read": Explored(
        doors.make(http=0, oap=1, ends=("answer", "fail", "cancel", "leave"), fills=True, hurries=True), 7_000
    ),
    # As on real sockets: what one turn of the reactor wrote leaves in the next.
    "http-in-the-next-turn": Explored(doors.make(http=1, oap=0, transport=doors.Socket, hurries=True), 170),
    "oap-in-the-next-turn": Explored(
        doors.make(http=0, oap=1, transport=doors.Socket, ends=("answer", "cancel", "leave"), hurries=True),
        1_400,
    ),
    "listening-over-http": Explored(
        doors.make(http=1, oap=0, listens=True, withdraws=True, hurries=True), 2_700
    ),
    "listening-over-oap": Explored(
        doors.make(http=0, oap=1, transport=doors.Socket, listens=True, ends=("cancel", "leave")), 1_900
    ),
    "in-line-at-both-doors": Explored(
        doors.make(http=1, oap=1, limit=1, queue=1, ends=("answer",), hurries=True), 1_700
    ),
    "two-http-for-one-permit": Explored(doors.make(http=2, oap=0, limit=1), 1_700),
}
