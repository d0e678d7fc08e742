"""The mailbox against a model of it: whatever happens to messages, none is lost, doubled or out of its turn.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from micronode.devowners.mailbox import DEAD, MAX_ATTEMPTS, Limits, Mailbox, Wish
from micronode.errors import ErrorCode, NodeError

PLACES = st.sampled_from([(tenant, topic) for tenant in ("0" * 32, "1" * 32) for topic in ("a", "b")])
ANY_PLACES = st.one_of(PLACES, PLACES.map(lambda place: (place[0], place[1] + DEAD)))
KEYS = st.sampled_from("klmn")
PAYLOADS = st.sampled_from([b"", b"x", bytes(3000)])
LIMITS = Limits(messages=6, topics=3, total_bytes=12_000, keys=3, keys_s=100.0)


@attrs.define
class Modelled:
    """A message as it should be."""

    place: tuple[str, str]
    payload: bytes
    attempt: int = 0
    held_until: float | None = None


class MailboxMachine(RuleBasedStateMachine):
    """The model keeps messages in the order in which they came to their topic."""

    @initialize()
    def begin(self) -> None:
        self.mailbox = Mailbox(limits=LIMITS)
        self.now = 1000.0
        self.there: dict[str, Modelled] = {}
        self.keys: dict[tuple[str, str, str], tuple[bytes, str, float]] = {}
        self.gone: list[tuple[str, str]] = []

    def teardown(self) -> None:
        if hasattr(self, "mailbox"):
            self.mailbox.close()

    def at(self, place: tuple[str, str]) -> list[str]:
        return [msg_id for msg_id, each in self.there.items() if each.place == place]

    def release(self, msg_id: str) -> None:
        each = self.there[msg_id]
        each.held_until = None
        if each.attempt >= MAX_ATTEMPTS and not each.place[1].endswith(DEAD):
            each.place, each.attempt = (each.place[0], each.place[1] + DEAD), 0
            # At the end of its new topic.
            self.there[msg_id] = self.there.pop(msg_id)

    @rule(place=PLACES, key=KEYS, payload=PAYLOADS)
    def send(self, place: tuple[str, str], key: str, payload: bytes) -> None:
        self.keys = {name: known for name, known in self.keys.items() if known[2] > self.now - LIMITS.keys_s}
        known = self.keys.get((*place, key))
        try:
            msg_id, duplicate = self.mailbox.send(place, key, payload, {}, self.now)
        except NodeError as error:
            refused = error.code
        else:
            refused = None
        if refused is ErrorCode.CONFLICT:
            assert known is not None
            assert known[0] != payload
            return
        if refused is not None:
            assert refused is ErrorCode.QUOTA_EXCEEDED
            assert known is None
            payloads = [payload, *(each.payload for each in self.there.values())]
            topics = {each.place for each in self.there.values()}
            assert (
                len(self.there) >= LIMITS.messages
                or (len(topics) >= LIMITS.topics and place not in topics)
                or sum(len(each) * 4 // 3 + 300 for each in payloads) > LIMITS.total_bytes
            )
            return
        assert duplicate is (known is not None)
        if known is not None:
            assert (payload, msg_id) == known[:2]
            return
        assert msg_id not in self.there
        while len(self.keys) >= LIMITS.keys:
            del self.keys[next(iter(self.keys))]
        self.keys[*place, key] = payload, msg_id, self.now
        self.there[msg_id] = Modelled(place, payload)

    @rule(place=ANY_PLACES, most=st.integers(1, 4), room=st.sampled_from([10, 2500, 10**6]))
    def take_some(self, place: tuple[str, str], most: int, room: int) -> None:
        self.take(place, most, room)

    def take(self, place: tuple[str, str], most: int, room: int) -> None:
        wish = Wish(max_messages=most, max_bytes=room, visibility_s=10.0)
        taken = self.mailbox.take(place, wish, self.now)
        waiting = [msg_id for msg_id in self.at(place) if self.there[msg_id].held_until is None]
        fitting = [
            msg_id
            for msg_id in waiting
            if room > 4000 or (room > 2000 and len(self.there[msg_id].payload) < 9)
        ]
        assert [message["msg_id"] for message in taken] == fitting[:most]
        for message in taken:
            each = self.there[message["msg_id"]]
            each.attempt += 1
            each.held_until = self.now + 10.0
            assert (message["attempt"], message["topic"]) == (each.attempt, each.place[1])
            assert b64decode(message["payload_b64"]) == each.payload

    @rule(place=PLACES, times=st.integers(1, MAX_ATTEMPTS))
    def fail_again_and_again(self, place: tuple[str, str], times: int) -> None:
        """Nothing else brings a message to the dead letters soon enough."""
        for _ in range(times):
            self.take(place, 1, 10**6)
            for msg_id in self.at(place):
                if self.there[msg_id].held_until is not None:
                    self.release(msg_id)
                    assert self.mailbox.nack(place[0], msg_id) == self.there[msg_id].place

    @rule(data=st.data(), how=st.sampled_from(["ack", "nack"]), mine=st.booleans())
    def settle(self, data: Any, how: str, mine: bool) -> None:
        known = [(each.place[0], msg_id) for msg_id, each in self.there.items()] + self.gone
        if not known:
            return
        tenant, msg_id = data.draw(st.sampled_from(known))
        if not mine:
            tenant = "2" * 32
        each = self.there.get(msg_id) if mine else None
        if how == "ack":
            assert self.mailbox.ack(tenant, msg_id) is (each is not None)
            if each is not None:
                del self.there[msg_id]
                self.gone.append((tenant, msg_id))
            return
        place = self.mailbox.nack(tenant, msg_id)
        if each is None:
            assert place is None
            return
        if each.held_until is not None:
            self.release(msg_id)
        assert place == each.place

    @rule(seconds=st.sampled_from([1.0, 9.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        late = {id_ for id_, each in self.there.items() if each.held_until and each.held_until <= self.now}
        changed = self.mailbox.give_back_late(self.now)
        # In the order of their topics, which is that of the dead ones' deaths.
        for msg_id in [each for each in self.there if each in late]:
            self.release(msg_id)
        assert changed == {self.there[msg_id].place for msg_id in late}

    @invariant()
    def adds_up(self) -> None:
        if not hasattr(self, "mailbox"):
            return
        ask = self.mailbox._database.execute
        assert ask("SELECT count(*), coalesce(sum(size), 0) FROM messages").fetchone() == (
            self.mailbox._messages,
            self.mailbox._bytes,
        )
        assert self.mailbox._messages == len(self.there) <= LIMITS.messages
        assert self.mailbox._bytes <= LIMITS.total_bytes
        assert ask("SELECT count(*) FROM keys").fetchone() == (self.mailbox._keys,)
        assert self.mailbox._keys <= LIMITS.keys
        assert set(self.mailbox._topics) == {each.place for each in self.there.values()}
        ends = [each.held_until for each in self.there.values() if each.held_until is not None]
        assert self.mailbox.next_late() == (min(ends) if ends else None)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=120, stateful_step_count=40
)
