"""A subscription: messages of a topic as the mailbox has them, for as long as the caller takes them.

Nothing is asked for before the caller has room for the longest message there may be, so that none is passed
over just because of what came before it, and one that is longer than that stays where it is, for ``recv``.
What was handed out and not confirmed goes back when the subscription ends, however it ends.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from micronode.calls.call import Call, ResponseHead
from micronode.errors import NodeError
from micronode.facets.messages import MAX_EVENT_PAYLOAD, Received, read_messages
from micronode.facets.polls import Polls
from micronode.facets.seeker import Place
from micronode.interfaces import IEventSink, IMailboxOwner, IReplyBody, IResponseSink

#: Bytes of a message as its subscriber gets it, whatever the door: those that a payload of 48 KiB needs.
MAX_EVENT: Final = 65_536
#: Messages that are asked for at a time: enough to make up for the way to the owner, few enough that all
#: who share a topic get some.
BATCH: Final = 16
#: Messages of one subscription that may be out without being confirmed; of more, the oldest are left to come
#: again by themselves.
MAX_UNCONFIRMED: Final = 256
#: Seconds that giving back may take in all, and how many go back at a time.
GIVE_BACK_S: Final = 2.0
_AT_A_TIME: Final = 4
#: A message that comes back by itself within so many seconds is not given back: by then it may be another's.
_TOO_LATE_S: Final = GIVE_BACK_S + 1.0


class Unconfirmed:
    """The messages that subscribers of this node hold, so that a word about one finds who has it."""

    def __init__(self) -> None:
        self._holders: dict[tuple[bytes, str], Subscription] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def add(self, tenant: bytes, msg_id: str, holder: Subscription) -> None:
        """*holder* has got a message."""
        self._holders[tenant, msg_id] = holder

    def settle(self, tenant: bytes, msg_id: str) -> None:
        """A message was confirmed or given back."""
        holder = self._holders.pop((tenant, msg_id), None)
        if holder is not None:
            holder.settled(msg_id)

    def remove(self, tenant: bytes, msg_ids: Iterable[str], holder: Subscription) -> None:
        """*holder* has to do with these messages no more."""
        for msg_id in msg_ids:
            if self._holders.get((tenant, msg_id)) is holder:
                del self._holders[tenant, msg_id]


@attrs.frozen
class Deliveries:
    """What all subscriptions of a node share, for as long as it lives, whatever reloads bring."""

    clock: IReactorTime
    polls: Polls
    unconfirmed: Unconfirmed = attrs.field(factory=Unconfirmed)


@implementer(IReplyBody)
class Subscription:
    """The body of a subscription; a :class:`~micronode.facets.seeker.Seeker` while it is relayed.

    :ivar max_bytes: of the longest message that the caller takes; known once it is relayed.
    """

    def __init__(
        self, call: Call, topic: str, mailbox: IMailboxOwner, deliveries: Deliveries, *, visibility_ms: int
    ) -> None:
        self.place: Place = (call.tenant, topic)
        self.token_id = call.token_id
        self.visibility_ms = visibility_ms
        self.max_bytes = MAX_EVENT
        # The caller's deadline was for the head.
        self._call = attrs.evolve(call, deadline_s=None)
        self._mailbox = mailbox
        self._deliveries = deliveries
        #: Messages that wait to be written, and until when they are ours.
        self._waiting: deque[Received] = deque()
        self._waiting_until = 0.0
        #: Ids of those that were written and not confirmed, with the same.
        self._written: OrderedDict[str, float] = OrderedDict()

    # IReplyBody

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """See IReplyBody; *sink* is an IEventSink. Cancelled, it ends when what is to go back has gone."""
        return Deferred.fromCoroutine(self._relay(head, IEventSink(sink)))

    def abort(self) -> None:
        """See IReplyBody: nothing is taken before the relay."""

    async def _relay(self, head: ResponseHead, sink: Any) -> None:
        sink.start(head)
        self.max_bytes = min(MAX_EVENT, sink.max_event)
        polls, clock = self._deliveries.polls, self._deliveries.clock
        try:
            while True:
                await sink.when_room(self.max_bytes)
                messages = await polls.next(self)
                self._waiting.extend(messages)
                self._waiting_until = clock.seconds() + self.visibility_ms / 1000
                while self._waiting:
                    message = self._waiting[0]
                    await sink.when_room(len(message.event))
                    if clock.seconds() >= self._waiting_until:
                        # They have come back by themselves, and may be others' by now.
                        self._waiting.clear()
                        break
                    sink.write_event(message.event, message.msg_id)
                    self._waiting.popleft()
                    self._note(message.msg_id)
        finally:
            await self._end()

    def _note(self, msg_id: str) -> None:
        written, tenant = self._written, self.place[0]
        written[msg_id] = self._waiting_until
        written.move_to_end(msg_id)
        self._deliveries.unconfirmed.add(tenant, msg_id, self)
        if len(written) > MAX_UNCONFIRMED:
            oldest, _ = written.popitem(last=False)
            self._deliveries.unconfirmed.remove(tenant, (oldest,), self)

    def settled(self, msg_id: str) -> None:
        """A message that was written is confirmed, or given back, by the caller."""
        self._written.pop(msg_id, None)

    async def _end(self) -> None:
        # Whoever cancels this, too, leaves the rest to come again by itself.
        self._deliveries.unconfirmed.remove(self.place[0], self._written, self)
        held = [*self._written.items(), *((each.msg_id, self._waiting_until) for each in self._waiting)]
        self._written.clear()
        self._waiting.clear()
        # First, or it would be handed what is given back.
        await self._deliveries.polls.settled(self.place)
        now = self._deliveries.clock.seconds() + _TOO_LATE_S
        await self._give_back([msg_id for msg_id, until in held if until > now])

    # Seeker

    def poll(self, wait_s: float) -> Deferred[Sequence[Received]]:
        """See :class:`~micronode.facets.seeker.Seeker`."""
        return Deferred.fromCoroutine(self._poll(wait_s))

    async def _poll(self, wait_s: float) -> Sequence[Received]:
        reply = await self._mailbox.recv(
            self._call,
            self.place[1],
            max_messages=BATCH,
            max_bytes=self.max_bytes,
            visibility_ms=self.visibility_ms,
            wait_ms=int(wait_s * 1000),
        )
        messages = await read_messages(reply, self.max_bytes)
        fit = [each for each in messages if self._fits(each)]
        if len(fit) < len(messages):
            await self._give_back([each.msg_id for each in messages if not self._fits(each)])
        return fit

    def _fits(self, message: Received) -> bool:
        """Whether the caller can be sent *message*; an owner that keeps to ``max_bytes`` has no other."""
        return len(message.event) <= self.max_bytes and message.payload_bytes <= MAX_EVENT_PAYLOAD

    def give_back(self, messages: Sequence[Received]) -> Deferred[None]:
        """See :class:`~micronode.facets.seeker.Seeker`."""
        return Deferred.fromCoroutine(self._give_back([each.msg_id for each in messages]))

    async def _give_back(self, msg_ids: Sequence[str]) -> None:
        """Give messages back; where that fails, they come again when their time is over."""
        left = deque(msg_ids)
        if not left:
            return
        workers = [Deferred.fromCoroutine(self._give_back_some(left)) for _ in range(_AT_A_TIME)]
        waiting = DeferredList(workers, consumeErrors=True)
        try:
            await waiting.addTimeout(GIVE_BACK_S, self._deliveries.clock)
        except TimeoutError:
            left.clear()

    async def _give_back_some(self, left: deque[str]) -> None:
        while left:
            try:
                reply = await self._mailbox.nack(self._call, left.popleft())
            except NodeError:
                left.clear()
            except CancelledError:
                left.clear()
                raise
            else:
                reply.discard()
