"""How long a client waits before it tries again, and when it does not (``specs/oap-1.md`` section 2)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import attrs

from micronode.oap.client.errors import OAPError
from micronode.oap.wire.errors import ErrorCode

#: After these nothing was done, so that any call may be made again.
UNDONE: Final = frozenset(
    code.value for code in (ErrorCode.BUSY, ErrorCode.RATE_LIMITED, ErrorCode.DRAINING, ErrorCode.NOT_READY)
)


@attrs.frozen(kw_only=True)
class Backoff:
    """Exponential, with full jitter: callers that failed together do not come back together.

    With the values below ten attempts take 16 seconds on average, 31 at most: a node that restarts is back by
    then.

    :ivar attempts: how often a call is tried in all. One with a deadline has that instead, and is tried
        until it would pass.
    :ivar first_s: the longest wait before the second attempt, in seconds; it doubles with each.
    :ivar cap_s: the longest of these waits.
    :ivar patience_s: when a node says to come back later than that, the call fails instead.
    :ivar random: from 0 to 1, the part of a wait that is waited.
    """

    attempts: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    first_s: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    cap_s: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    patience_s: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    random: Callable[[], float] = random.random

    def wait_s(self, failures: int, retry_after_ms: int | None, *, counted: bool = True) -> float | None:
        """Return how many seconds to wait after so many *failures*; None: it is to fail.

        :param retry_after_ms: what the node said; the wait is never shorter.
        :param counted: whether the number of attempts is bounded; not where a deadline bounds them.
        """
        if counted and failures >= self.attempts:
            return None
        least = (retry_after_ms or 0) / 1000
        if least > self.patience_s:
            return None
        # No power of it: a large number of attempts would overflow a float.
        most = self.first_s * 2.0 ** min(failures - 1, 64)
        return least + self.random() * min(self.cap_s, most)


def is_undone(error: Exception) -> bool:
    """Whether *error* says that the node did nothing, so that even a write may be repeated."""
    return isinstance(error, OAPError) and error.name in UNDONE


def of_calls(error: OAPError) -> OAPError:
    """Return what calls fail with whose connection ended with *error*.

    That nothing was done a node says of a call. One that says it of a connection says it of none of its
    calls, and they must not be made again for it.
    """
    if not is_undone(error):
        return error
    return OAPError.from_code(ErrorCode.BAD_GATEWAY, f"the node ended the connection: {error.message}")
