"""One call's place at an owner: the slot it takes, the connection it uses, the deadline that runs.

There is one timer a call: first it runs to the response head, then from one piece of the body to the
next. The slot is free when the body was read, or the call was aborted or failed, and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from micronode.adapters.agent import Exchange
from micronode.concurrency.alarms import Alarm, Alarms
from micronode.errors import ErrorCode, NodeError

#: What ``owner_requests_total`` calls the end of a call that failed.
_OUTCOMES = {ErrorCode.OWNER_UNAVAILABLE: "unavailable", ErrorCode.OWNER_TIMEOUT: "timeout"}
#: What ``rejected_total`` calls a call for which its owner had no permit.
OWNER_FULL: Final = "owner_full"
#: When a caller may come back that was not answered in time, in seconds: as where its own deadline ended it.
RETRY_S: Final = 1.0


class Lease:
    """See the module's docstring.

    :param owner: the owner's name, for messages.
    :param idle_s: seconds between two pieces of a response body.
    :param max_body: bytes of a response body, or None: no bound.
    """

    def __init__(self, owner: str, alarms: Alarms, *, idle_s: float, max_body: int | None) -> None:
        self.owner = owner
        self.idle_s = idle_s
        self.max_body = max_body
        self.exchange: Exchange | None = None
        #: Outcome when the body was read to its end.
        self.outcome = "ok"
        self.ended = False
        self._alarms = alarms
        self._alarm: Alarm | None = None

    def released(self, outcome: str) -> None:
        """The slot is free, which whose lease it is overrides; called once.

        :param outcome: one of :data:`micronode.observability.metrics.OWNER_OUTCOMES`.
        """

    @property
    def timed(self) -> bool:
        """Whether the timer runs: something is waited for that the owner owes."""
        return self._alarm is not None and self._alarm.is_set

    def watch(self, seconds: float, expired: Callable[[], None]) -> None:
        """Start the timer, instead of the one that runs."""
        if self._alarm is None or not self._alarm.move(seconds, expired):
            self._alarm = self._alarms.set(seconds, expired)

    def touch(self, seconds: float) -> None:
        """Let the running timer run for *seconds* from now."""
        if self._alarm is not None:
            self._alarm.move(seconds)

    def rest(self) -> None:
        """Stop the timer."""
        if self._alarm is not None:
            self._alarm.stop()
            self._alarm = None

    def end(self, outcome: str) -> None:
        """Give the slot back. Idempotent: the first outcome counts."""
        if not self.ended:
            self.ended = True
            self.rest()
            self.released(outcome)

    def abort(self, outcome: str = "cancelled") -> None:
        """Close the connection and give the slot back. Idempotent, and harmless once it :meth:`ended`."""
        if not self.ended:
            # First the end: what aborting fires must find the call over.
            self.end(outcome)
            if self.exchange is not None:
                self.exchange.abort()

    def fail(self, error: NodeError) -> NodeError:
        """:meth:`abort` because of *error*, and return it."""
        self.abort(outcome_of(error))
        return error

    # What the owner did wrong, in words for the caller: they never name an address.

    def too_slow(self) -> NodeError:
        """The deadline ran out."""
        return too_slow(self.owner)

    def stalled(self) -> NodeError:
        """The body stopped coming."""
        return NodeError(
            ErrorCode.OWNER_TIMEOUT,
            f"the answer of owner {self.owner} stalled",
            retry_after_s=RETRY_S,
            source=self.owner,
        )

    def unavailable(self, what: str) -> NodeError:
        """Nothing could be asked of it."""
        return unavailable(self.owner, what)

    def bad_answer(self, what: str) -> NodeError:
        """Its answer is of no use."""
        return NodeError(ErrorCode.BAD_GATEWAY, f"owner {self.owner} {what}", source=self.owner)


def unavailable(owner: str, what: str, retry_after_s: float = 1.0) -> NodeError:
    """Return the error of a call that *owner* could not be asked."""
    return NodeError(
        ErrorCode.OWNER_UNAVAILABLE, f"owner {owner} {what}", retry_after_s=retry_after_s, source=owner
    )


def full(owner: str) -> NodeError:
    """Return the error of a call for which *owner* has no permit."""
    message = f"owner {owner} has all the calls it can take"
    return NodeError(ErrorCode.OWNER_UNAVAILABLE, message, retry_after_s=1.0, source=owner, bound=OWNER_FULL)


def too_slow(owner: str) -> NodeError:
    """Return the error of a call that *owner* did not answer while there was time."""
    return NodeError(
        ErrorCode.OWNER_TIMEOUT,
        f"owner {owner} did not answer in time",
        retry_after_s=RETRY_S,
        source=owner,
    )


def outcome_of(error: NodeError) -> str:
    """Return what ``owner_requests_total`` calls the end of a call that failed with *error*."""
    return _OUTCOMES.get(error.code, "bad_gateway")
