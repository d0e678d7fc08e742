"""Who asks the mailbox for subscribers, how often, and for whom: one poll at a time of each topic.

*Why not one long poll a subscriber.* A thousand subscriptions that each kept a question open would hold every
permit of their owner and of their facet, and calls would get none. So subscribers of a topic (of a tenant)
share one poll at a time, made for the one that has waited longest. What it brings is only for those who would
have asked the same with the same token; where nothing came of it, others are asked for next, so that one for
whom there is nothing keeps nobody from what there is. There are few polls at a time of all topics together,
in the order in which they fell due; and each takes a permit of the facet's gate and one of the owner's while
it lasts, like any call. While there are no more topics than polls, a poll may wait at the owner for half a
second: a message arrives at once, and an idle topic costs two questions a second. Beyond that nobody waits
there, and a topic without messages is asked after 50 ms, 100 ms and so on up to 2 s. Whatever is sent or
given back through this node is looked for at once. (Rejected: a waiting room of long polls that newcomers
push out.)

A poll is not broken off when its subscriber leaves: whoever does that may lose what is just being handed
out, until it comes again by itself. What it brings goes to the next subscriber, or back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.concurrency.backpressure import Gate
from micronode.errors import ErrorCode, NodeError
from micronode.facets.messages import Received
from micronode.facets.seats import Seat, Topic, alike, fitting, let_others_ask
from micronode.facets.seeker import Place, Seeker

_log = Logger()

#: Polls at a time, of all topics; fewer where the facet or its owner has few permits.
MAX_POLLS: Final = 16
#: The share of the permits that polls may take.
_SHARE: Final = 4
#: Seconds that the owner may wait for a message: so long one topic more than there are polls may wait for its
#: turn, and so long a subscription may take to end.
WAIT_S: Final = 0.5
#: Seconds before a topic without messages is asked again, from and to.
MIN_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0
#: The same after an error.
MIN_REST_S: Final = 0.25
MAX_REST_S: Final = 5.0
#: Seconds for which an owner may fail before its subscribers are told.
PATIENCE_S: Final = 30.0
#: Seconds to the next try where the facet has no permit free.
_NO_PERMIT_S: Final = 0.1
#: Seconds that the answer to a poll may take beyond those that it waits, when nobody is there for it.
_GRACE_S: Final = 0.25
#: Errors that asking again does not change.
_FOR_GOOD: Final = frozenset(
    (ErrorCode.BAD_REQUEST, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.BODY_TOO_LARGE)
)


class Polls:
    """See the module's docstring. There is one for as long as the node lives.

    :param gate: returns the gate of the facet's calls.
    :param random: spreads what would come at the same moment.
    """

    def __init__(self, clock: IReactorTime, gate: Callable[[], Gate], random: Random | None = None) -> None:
        self._clock = clock
        self._gate = gate
        self._random = random or Random()  # noqa: S311  # nothing secret depends on it
        self._limit = MAX_POLLS
        self._patient = True
        self._topics: dict[Place, Topic] = {}
        #: Topics that are due.
        self._queue: deque[Topic] = deque()
        self._running = 0
        self._serving = False
        #: Until the next look for a permit.
        self._resting: IDelayedCall | None = None

    def bound(self, permits: int) -> None:
        """Let there be polls as there is room for.

        :param permits: calls that the facet, and its owner, take at a time: the fewer of both.
        """
        self._limit = max(1, min(MAX_POLLS, permits // _SHARE))
        # Where there are so few, none is to be idle.
        self._patient = permits >= _SHARE

    @property
    def running(self) -> int:
        """How many polls there are now."""
        return self._running

    @property
    def limit(self) -> int:
        """How many there may be."""
        return self._limit

    @property
    def due(self) -> int:
        """How many topics wait for their turn."""
        return len(self._queue)

    def next(self, seeker: Seeker) -> Deferred[Sequence[Received]]:
        """Wait for messages, at least one.

        :return: a Deferred that fires with them: they are *seeker*'s, to be delivered or given back. It fails
            with NodeError where the owner failed for too long. It may be cancelled; see :meth:`settled`.
        """
        topic = self._topics.get(seeker.place)
        if topic is None:
            topic = self._topics[seeker.place] = Topic(seeker.place)
            due = True
        else:
            due = not topic.seats and not topic.polled
        seat = Seat(seeker, Deferred(lambda _: self._leave(topic, seat)))
        topic.seats.append(seat)
        if topic.giving_up is not None:
            topic.giving_up.cancel()
            topic.giving_up = None
        if due:
            self._enqueue(topic)
        return seat.got

    def wake(self, place: Place) -> None:
        """There may be a message at *place*: look at once, if anybody waits there."""
        topic = self._topics.get(place)
        if topic is None or topic.failures:
            return
        topic.woken = True
        if topic.timer is not None:
            topic.timer.cancel()
            self._enqueue(topic)

    def settled(self, place: Place) -> Deferred[None]:
        """Wait until no poll of *place* brings messages that nobody is there for.

        :return: a Deferred that fires (None), soon; never fails. It may be cancelled.
        """
        topic = self._topics.get(place)
        if topic is None or topic.seats or not topic.polled:
            return succeed(None)
        waiting: Deferred[None] = Deferred(topic.settled.remove)
        topic.settled.append(waiting)
        return waiting

    def _leave(self, topic: Topic, seat: Seat) -> None:
        topic.seats.remove(seat)
        if topic.seats:
            return
        if not topic.polled:
            self._drop(topic)
        else:
            topic.giving_up = self._clock.callLater(WAIT_S + _GRACE_S, self._give_up, topic)

    def _give_up(self, topic: Topic) -> None:
        topic.giving_up = None
        if topic.poll is not None:
            topic.poll.cancel()

    def _drop(self, topic: Topic) -> None:
        """Forget *topic*, where nobody waits."""
        del self._topics[topic.place]
        if topic.timer is not None:
            topic.timer.cancel()
            topic.timer = None
        elif topic in self._queue:
            self._queue.remove(topic)
        if not self._queue and self._resting is not None:
            self._resting.cancel()
            self._resting = None

    # The queue

    def _enqueue(self, topic: Topic) -> None:
        topic.timer = None
        self._queue.append(topic)
        self._serve()

    def _serve(self) -> None:
        # One at a time: what a poll brings may lead to the next one at once.
        if self._serving:
            return
        self._serving = True
        try:
            while self._queue and self._running < self._limit and self._resting is None:
                gate = self._gate()
                if gate.try_acquire():
                    self._begin(self._queue.popleft(), gate)
                else:
                    self._resting = self._clock.callLater(self._spread(_NO_PERMIT_S), self._look_again)
        finally:
            self._serving = False

    def _look_again(self) -> None:
        self._resting = None
        self._serve()

    def _spread(self, seconds: float) -> float:
        return seconds * self._random.uniform(0.5, 1.0)

    # One poll

    def _begin(self, topic: Topic, gate: Gate) -> None:
        self._running += 1
        topic.polled, topic.woken = True, False
        seeker = topic.seats[0].seeker
        wait_s = WAIT_S if self._patient and len(self._topics) <= self._limit else 0.0
        began = self._clock.seconds()
        asking = seeker.poll(wait_s)

        def freed(result: Sequence[Received] | Failure) -> Sequence[Received] | Failure:
            self._running -= 1
            gate.release()
            return result

        def answered(messages: Sequence[Received]) -> Deferred[None] | None:
            topic.failures = 0
            for each in topic.seats:
                if alike(each.seeker, seeker):
                    each.failing_since = None
            if not messages:
                let_others_ask(topic.seats, seeker)
                self._found_nothing(topic, wait_s, self._clock.seconds() - began)
                return None
            topic.pause_s = 0.0
            seat = next(fitting(topic.seats, seeker), None)
            if seat is None:
                return seeker.give_back(messages)
            topic.seats.remove(seat)
            seat.got.callback(messages)
            return None

        poll: Deferred[Any] = (
            asking.addBoth(freed).addCallback(answered).addErrback(self._failed, topic, seeker)
        )
        poll.addBoth(self._over, topic)
        if topic.polled:
            topic.poll = poll

    def _found_nothing(self, topic: Topic, wait_s: float, took_s: float) -> None:
        if wait_s and took_s >= wait_s / 2:
            topic.pause_s = 0.0
        else:
            topic.pause_s = min(MAX_PAUSE_S, max(MIN_PAUSE_S, 2 * topic.pause_s))

    def _failed(self, failure: Failure, topic: Topic, seeker: Seeker) -> None:
        error = failure.value
        if not isinstance(error, NodeError):
            if not topic.seats:
                # It was broken off.
                return
            _log.failure("poll_failed", failure=failure)
            error = NodeError(ErrorCode.INTERNAL, "a defect of the node; its log tells of it")
        now = self._clock.seconds()
        if error.code in _FOR_GOOD or error.code is ErrorCode.INTERNAL:
            told = [seat for seat in topic.seats if seat.seeker is seeker]
        else:
            topic.failures += 1
            topic.pause_s = min(MAX_REST_S, MIN_REST_S * 2.0 ** min(topic.failures, 10))
            told = []
            for seat in topic.seats:
                if seat.failing_since is None:
                    seat.failing_since = now
                elif now - seat.failing_since >= PATIENCE_S:
                    told.append(seat)
            let_others_ask(topic.seats, seeker)
        for seat in told:
            topic.seats.remove(seat)
        for seat in told:
            seat.got.errback(error)

    def _over(self, result: object, topic: Topic) -> None:
        topic.polled, topic.poll = False, None
        if isinstance(result, Failure):
            _log.failure("poll_failed", failure=result)
        if topic.giving_up is not None:
            topic.giving_up.cancel()
            topic.giving_up = None
        settled, topic.settled = topic.settled, []
        for waiting in settled:
            waiting.callback(None)
        if not topic.seats:
            self._drop(topic)
        elif topic.pause_s and not (topic.woken and not topic.failures):
            topic.timer = self._clock.callLater(self._spread(topic.pause_s), self._enqueue, topic)
        else:
            self._enqueue(topic)
        self._serve()
