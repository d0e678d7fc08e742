"""Which calls are tried again, when, and how long after. ``docs/architecture.rst``, "Owners".

Only what may be done twice (an idempotent call, without a body), only before the first byte of its answer was
passed on, at most :data:`MOST` times, and only while there is time. Whether there is money for it is
the budget's to say (:mod:`micronode.adapters.budget`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Final

from twisted.web.iweb import IResponse

from micronode.adapters.budget import RetryBudget
from micronode.adapters.timeleft import TimeLeft

#: Further tries of one call.
MOST: Final = 2
#: Seconds before the first one, about; each further one waits twice as long. Short, since a caller waits,
#: and long enough for a restarting owner's socket, or another endpoint's turn.
FIRST_S: Final = 0.025
#: An owner's word that it, or what is behind it, cannot serve now: another one, or a moment later, may.
STATUSES: Final = frozenset((502, 503, 504))
#: With these, Retry-After says how long the owner wants to be left alone.
RESTING: Final = frozenset((429, 503))
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Retries:
    """The further tries of one call that may have any.

    :param told: called for each.
    """

    __slots__ = ("_budget", "_made", "_random", "_time_left", "_told")

    def __init__(
        self, budget: RetryBudget, time_left: TimeLeft, random: Random, told: Callable[[], None]
    ) -> None:
        self._budget = budget
        self._time_left = time_left
        self._random = random
        self._told = told
        self._made = 0

    def take(self, rest_s: float | None) -> float | None:
        """Return in how many seconds there is another try, which is counted then; None: there is none.

        :param rest_s: seconds before which none makes sense; None: it needs no pause at all.
        """
        if self._made >= MOST:
            return None
        delay_s = 0.0
        if rest_s is not None:
            # Not to the point: calls that failed together must not come back together.
            delay_s = max(rest_s, FIRST_S * 2**self._made) * self._random.uniform(1.0, 2.0)
        if delay_s >= self._time_left.of_call or not self._budget.take():
            return None
        self._made += 1
        self._told()
        return delay_s


def read_rest(response: IResponse) -> float | None:
    """Return the seconds for which *response* asks to be left alone, as :func:`read_retry_after` does."""
    if response.code not in RESTING:
        return 0.0
    # As bytes: asked for as text it would be decoded, and whatever the owner sends must not raise.
    values = response.headers.getRawHeaders(b"retry-after")
    return read_retry_after(values[0].decode("latin-1") if values else None)


def read_retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After of *text* asks for: 0 without one.

    :return: None where it is no number of seconds: then nobody knows when to come back, and nobody does.
    """
    if text is None:
        return 0.0
    text = text.strip()
    return float(text) if _SECONDS.fullmatch(text) else None
