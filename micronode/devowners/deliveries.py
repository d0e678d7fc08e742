"""Who waits for messages of a mailbox, and when the held ones come back: its clock and its waiting room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from micronode.devowners.mailbox import Mailbox, Place, Wish
from micronode.errors import ErrorCode, NodeError

#: Receivers that may wait at a time, in all topics together.
MAX_WAITING: Final = 4096

Messages = list[dict[str, Any]]


@attrs.frozen(eq=False)
class _Waiter:
    wish: Wish
    answered: Deferred[Messages]


class Deliveries:
    """Sends to and receives from *mailbox* for callers that may wait.

    :param clock: for timers.
    :param now: the time of day, in seconds since the epoch: what is held may outlive the process.
    """

    def __init__(self, mailbox: Mailbox, clock: IReactorTime, now: Callable[[], float]) -> None:
        self._mailbox = mailbox
        self._clock = clock
        self._now = now
        self._waiting: dict[Place, deque[_Waiter]] = {}
        self._timer: IDelayedCall | None = None
        self._due = 0.0
        self._is_over = False
        self._watch()

    @property
    def waiting(self) -> int:
        """How many receivers wait."""
        return sum(map(len, self._waiting.values()))

    def send(self, place: Place, key: str, payload: bytes, attributes: dict[str, str]) -> tuple[str, bool]:
        """See :meth:`~micronode.devowners.mailbox.Mailbox.send`."""
        sent = self._mailbox.send(place, key, payload, attributes, self._now())
        self._serve(place)
        return sent

    def receive(self, place: Place, wish: Wish, wait_s: float) -> Deferred[Messages]:
        """Hand out messages, as soon as there is one.

        :return: fires with none when *wait_s* have passed or :meth:`end` was called. Cancelling leaves the
            waiting room; nothing is held for who left.
        :raises NodeError: ``busy``: too many wait.
        """
        messages = self._mailbox.take(place, wish, self._now())
        if messages or not wait_s or self._is_over:
            self._watch()
            return succeed(messages)
        if self.waiting >= MAX_WAITING:
            raise NodeError(
                ErrorCode.BUSY, f"{MAX_WAITING} receivers wait already; ask again without waiting"
            )
        # However it ends, also by cancelling: its timer and its place in the queue go with it.
        answered: Deferred[Messages] = Deferred()
        waiter = _Waiter(wish, answered)
        self._waiting.setdefault(place, deque()).append(waiter)
        timer = self._clock.callLater(wait_s, answered.callback, [])

        def leave(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            queue = self._waiting.get(place)
            if queue is not None and waiter in queue:
                queue.remove(waiter)
                if not queue:
                    del self._waiting[place]
            return result

        return answered.addBoth(leave)

    def ack(self, tenant: str, msg_id: str) -> bool:
        """Forget a message. :return: whether it was there."""
        return self._mailbox.ack(tenant, msg_id)

    def nack(self, tenant: str, msg_id: str) -> bool:
        """Give a message back at once. :return: whether it was there."""
        place = self._mailbox.nack(tenant, msg_id)
        if place is not None:
            self._serve(place)
        return place is not None

    def end(self) -> bool:
        """Answer everybody who waits with no messages, and let nobody wait any more.

        :return: whether anybody was there.
        """
        self._is_over = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        waiters = [waiter for queue in self._waiting.values() for waiter in queue]
        for waiter in waiters:
            waiter.answered.callback([])
        return bool(waiters)

    def _serve(self, place: Place) -> None:
        """Let those who wait at *place* have what is there, first come first served."""
        for waiter in list(self._waiting.get(place, ())):
            if waiter.answered.called:
                continue
            messages = self._mailbox.take(place, waiter.wish, self._now())
            if messages:
                waiter.answered.callback(messages)
        self._watch()

    def _watch(self) -> None:
        """Have the timer run until the next held message comes back."""
        due = self._mailbox.next_late()
        is_running = self._timer is not None and self._timer.active()
        if due is None or self._is_over or (is_running and self._due <= due):
            return
        if is_running:
            assert self._timer is not None
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.callLater(max(0.0, due - self._now()), self._late)

    def _late(self) -> None:
        for place in self._mailbox.give_back_late(self._now()):
            self._serve(place)
        self._watch()
