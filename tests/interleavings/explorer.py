"""Tries every order of the events of a small world, each from a world of its own.

A world is made of the node's real objects on a clock that only the world moves. It says which events may
come next; whatever it says is tried, depth first. Objects cannot be copied, so each order begins anew, with a
fresh world, and goes the way of the one before it up to the last choice that has not been tried yet. What is
not tried is what the world itself does not offer: such as only another name for what it offers already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol, TypeAlias

#: An order of events, by their names.
Schedule: TypeAlias = tuple[str, ...]


class World(Protocol):
    """A few real objects, and what may happen to them."""

    def enabled(self) -> Sequence[str]:
        """Return what may happen next, in an order that is the same each time; nothing: all is over."""

    def do(self, event: str) -> None:
        """Let it happen, and check what has to hold at any time."""

    def end(self) -> None:
        """Check what has to hold when nothing can happen any more."""


class BrokenError(AssertionError):
    """A schedule after which something does not hold; its text is the schedule, to be read and replayed.

    :ivar schedule: the events up to there.
    """

    def __init__(self, name: str, schedule: Schedule, cause: BaseException) -> None:
        self.schedule = schedule
        steps = "".join(f"\n  {number}. {event}" for number, event in enumerate(schedule, 1))
        super().__init__(
            f"{name}: {type(cause).__name__}: {cause}\nafter:{steps}\n"
            f"again: python -m tests.interleavings {name} {text_of(schedule)!r}"
        )


def text_of(schedule: Iterable[str]) -> str:
    """Return *schedule* as a text that :func:`schedule_of` reads."""
    return ", ".join(schedule)


def schedule_of(text: str) -> Schedule:
    """Return the schedule that *text* is."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


def explore(make: Callable[[], World], *, name: str = "world", most: int | None = None) -> int:
    """Try every schedule of the worlds that *make* makes.

    :param most: stop after so many; None: when there are no more.
    :return: how many there were, no two the same.
    :raises BrokenError: one does not hold.
    """
    #: What was chosen at each step, out of what.
    chosen: list[int] = []
    choices: list[Sequence[str]] = []
    count = 0
    while True:
        _run(make, chosen, choices, name)
        count += 1
        while chosen and chosen[-1] + 1 == len(choices[-1]):
            chosen.pop()
            choices.pop()
        if not chosen or count == most:
            return count
        chosen[-1] += 1


def replay(make: Callable[[], World], schedule: Schedule, *, name: str = "world") -> Schedule:
    """Let *schedule* happen, and then whatever comes first until all is over.

    :return: what has happened.
    :raises BrokenError: something does not hold.
    :raises ValueError: an event cannot happen where the schedule has it.
    """
    world, done = make(), list[str]()
    try:
        while enabled := world.enabled():
            event = schedule[len(done)] if len(done) < len(schedule) else enabled[0]
            if event not in enabled:
                raise ValueError(f"{event!r} cannot happen after {text_of(done)!r}, but {text_of(enabled)!r}")
            done.append(event)
            world.do(event)
        world.end()
    except ValueError:
        raise
    except Exception as cause:
        raise BrokenError(name, tuple(done), cause) from cause
    return tuple(done)


def _run(make: Callable[[], World], chosen: list[int], choices: list[Sequence[str]], name: str) -> None:
    """Go the way that is *chosen*, and then the first one; note what there was to choose from."""
    world, done = make(), 0
    try:
        do = world.do
        for done, number in enumerate(chosen, 1):
            do(choices[done - 1][number])
        while enabled := world.enabled():
            chosen.append(0)
            choices.append(enabled)
            done += 1
            do(enabled[0])
        world.end()
    except Exception as cause:
        events = (each[number] for each, number in zip(choices, chosen, strict=True))
        raise BrokenError(name, tuple(islice(events, done)), cause) from cause
