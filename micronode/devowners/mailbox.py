"""The mailbox engine: topics of messages that are handed out, and come again until they are acknowledged.

Messages lie in SQLite rows, in memory or in a file; no statement takes longer than a millisecond for a
payload of 1 MiB, so all of it runs in the reactor's thread. It knows the time only by being told: when held
messages come back is the business of :mod:`~micronode.devowners.deliveries`.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from blake3 import blake3

from micronode.devowners.database import open_database
from micronode.errors import ErrorCode, NodeError

#: A message that was handed out so often and not acknowledged goes to the dead letters of its topic.
MAX_ATTEMPTS: Final = 5
#: What ends the name of a topic of dead letters. They come again for as long as it takes.
DEAD: Final = ".dlq"

_VERSION: Final = 1
#: ``number`` is the order within a topic. ``held_until`` is NULL while nobody has the message.
_SCHEMA: Final = """
CREATE TABLE messages (
    number INTEGER PRIMARY KEY, msg_id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL, topic TEXT NOT NULL,
    ts REAL NOT NULL, attrs TEXT NOT NULL, payload BLOB NOT NULL, size INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, held_until REAL);
CREATE INDEX messages_waiting ON messages (tenant, topic, number, size) WHERE held_until IS NULL;
CREATE INDEX messages_held ON messages (held_until) WHERE held_until IS NOT NULL;
CREATE TABLE keys (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, topic TEXT NOT NULL, idem_key TEXT NOT NULL,
    digest BLOB NOT NULL, msg_id TEXT NOT NULL, ts REAL NOT NULL, UNIQUE (tenant, topic, idem_key));
CREATE INDEX keys_by_age ON keys (ts)
"""
#: What a message's JSON may grow by on its way: digits of its attempt, the name of its dead letters.
_SPARE_BYTES: Final = 16
_OLDEST: Final = "number IN (SELECT number FROM keys ORDER BY number LIMIT ?)"
#: Messages that come back in one step.
_STEP: Final = 500

#: A topic of a tenant.
Place = tuple[str, str]


@attrs.frozen(kw_only=True)
class Limits:
    """What one mailbox holds, of all tenants together."""

    messages: int = 100_000
    #: Of messages as JSON.
    total_bytes: int = 256 * 2**20
    #: Topics that have messages.
    topics: int = 10_000
    #: Idempotency keys: the oldest make way, and each is forgotten after so many seconds.
    keys: int = 100_000
    keys_s: float = 3600.0


@attrs.frozen(kw_only=True)
class Wish:
    """What a receiver takes at most, and for how long it will be alone with it."""

    max_messages: int
    #: Of the messages as JSON, together.
    max_bytes: int
    visibility_s: float


class Mailbox:
    """Messages by tenant and topic.

    :param directory: where ``mailbox.sqlite`` is; None keeps it in memory.
    :raises StartError: see :func:`~micronode.devowners.database.open_database`.
    """

    def __init__(self, directory: Path | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._database = open_database(directory, "mailbox", _SCHEMA, version=_VERSION)
        ask = self._database.execute
        self._topics: Counter[Place] = Counter()
        for tenant, topic, count in ask("SELECT tenant, topic, count(*) FROM messages GROUP BY 1, 2"):
            self._topics[tenant, topic] = count
        self._messages, self._bytes, self._last = ask(
            "SELECT count(*), coalesce(sum(size), 0), coalesce(max(number), 0) FROM messages"
        ).fetchone()
        (self._keys,) = ask("SELECT count(*) FROM keys").fetchone()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def send(
        self, place: Place, key: str, payload: bytes, attributes: dict[str, str], now: float
    ) -> tuple[str, bool]:
        """Add a message at the end of its topic.

        :param key: the same one again, with the same payload and attributes, adds nothing.
        :param now: seconds since the epoch, here and in every method.
        :return: the message's id, and whether it was there before.
        :raises NodeError: ``conflict``: *key* is another message's; ``quota_exceeded``: full.
        """
        words = json.dumps(attributes, ensure_ascii=False)
        digest = blake3(len(payload).to_bytes(8, "big") + payload + words.encode()).digest()
        self._forget_keys("ts <= ?", now - self._limits.keys_s)
        known = self._database.execute(
            "SELECT digest, msg_id FROM keys WHERE tenant = ? AND topic = ? AND idem_key = ?", (*place, key)
        ).fetchone()
        if known is not None:
            if known[0] != digest:
                raise NodeError(ErrorCode.CONFLICT, "this idempotency key stands for another message")
            return known[1], True
        now = round(now, 3)
        number = self._last + 1
        msg_id = f"{number}-{secrets.token_hex(4)}"
        message = _as_json(msg_id, place[1], now, payload, words, 0)
        size = len(json.dumps(message, ensure_ascii=False).encode()) + _SPARE_BYTES
        self._make_sure_of_room(place, size)
        if self._keys >= self._limits.keys:
            self._forget_keys(_OLDEST, self._keys - self._limits.keys + 1)
        with self._transaction():
            self._database.execute(
                "INSERT INTO messages (number, msg_id, tenant, topic, ts, attrs, payload, size)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, msg_id, *place, now, words, payload, size),
            )
            self._database.execute(
                "INSERT INTO keys (tenant, topic, idem_key, digest, msg_id, ts) VALUES (?, ?, ?, ?, ?, ?)",
                (*place, key, digest, msg_id, now),
            )
        self._last = number
        self._messages += 1
        self._bytes += size
        self._topics[place] += 1
        self._keys += 1
        return msg_id, False

    def take(self, place: Place, wish: Wish, now: float) -> list[dict[str, Any]]:
        """Hand out messages, oldest first, and hold them for the receiver alone.

        A message longer than all that the receiver takes is passed over: it is for another one. The first
        that merely does not fit any more ends it.

        :return: the messages as JSON has them.
        """
        chosen: list[int] = []
        room = wish.max_bytes
        for number, size in self._database.execute(
            "SELECT number, size FROM messages"
            " WHERE tenant = ? AND topic = ? AND held_until IS NULL AND size <= ? ORDER BY number",
            (*place, wish.max_bytes),
        ):
            room -= size
            if room < 0 or len(chosen) == wish.max_messages:
                break
            chosen.append(number)
        if not chosen:
            return []
        with self._transaction():
            self._database.executemany(
                "UPDATE messages SET attempt = attempt + 1, held_until = ? WHERE number = ?",
                [(now + wish.visibility_s, number) for number in chosen],
            )
        return [self._read(number) for number in chosen]

    def ack(self, tenant: str, msg_id: str) -> bool:
        """Forget a message. :return: whether it was there."""
        found = self._find(tenant, msg_id)
        if found is None:
            return False
        number, topic, _attempt, size, _held = found
        self._database.execute("DELETE FROM messages WHERE number = ?", (number,))
        self._messages -= 1
        self._bytes -= size
        self._leave((tenant, topic))
        return True

    def nack(self, tenant: str, msg_id: str) -> Place | None:
        """Give a message back at once; one that nobody holds stays as it is.

        :return: the topic it now waits in; None: it is not there.
        """
        found = self._find(tenant, msg_id)
        if found is None:
            return None
        number, topic, attempt, _size, held_until = found
        return (tenant, topic) if held_until is None else self._give_back(number, (tenant, topic), attempt)

    def give_back_late(self, now: float) -> set[Place]:
        """Give back what was held until *now*. :return: the topics that have more messages for it."""
        changed: set[Place] = set()
        while True:
            late = self._database.execute(
                "SELECT number, tenant, topic, attempt FROM messages"
                " WHERE held_until <= ? ORDER BY number LIMIT ?",
                (now, _STEP),
            ).fetchall()
            with self._transaction():
                for number, tenant, topic, attempt in late:
                    changed.add(self._give_back(number, (tenant, topic), attempt))
            if len(late) < _STEP:
                return changed

    def next_late(self) -> float | None:
        """Return when the next message comes back; None: nothing is held."""
        (held_until,) = self._database.execute(
            "SELECT min(held_until) FROM messages WHERE held_until IS NOT NULL"
        ).fetchone()
        return held_until  # type: ignore[no-any-return]

    def _find(self, tenant: str, msg_id: str) -> tuple[int, str, int, int, float | None] | None:
        return self._database.execute(  # type: ignore[no-any-return]
            "SELECT number, topic, attempt, size, held_until FROM messages WHERE msg_id = ? AND tenant = ?",
            (msg_id, tenant),
        ).fetchone()

    def _read(self, number: int) -> dict[str, Any]:
        row = self._database.execute(
            "SELECT msg_id, topic, ts, payload, attrs, attempt FROM messages WHERE number = ?", (number,)
        ).fetchone()
        return _as_json(*row)

    def _give_back(self, number: int, place: Place, attempt: int) -> Place:
        """Let a message wait again, or be a dead letter. :return: where it is now."""
        tenant, topic = place
        if attempt < MAX_ATTEMPTS or topic.endswith(DEAD):
            self._database.execute("UPDATE messages SET held_until = NULL WHERE number = ?", (number,))
            return place
        # In the order in which they died.
        self._last += 1
        self._database.execute(
            "UPDATE messages SET number = ?, topic = ?, attempt = 0, held_until = NULL WHERE number = ?",
            (self._last, topic + DEAD, number),
        )
        self._leave(place)
        self._topics[tenant, topic + DEAD] += 1
        return tenant, topic + DEAD

    def _leave(self, place: Place) -> None:
        self._topics[place] -= 1
        if not self._topics[place]:
            del self._topics[place]

    def _make_sure_of_room(self, place: Place, size: int) -> None:
        limits = self._limits
        if self._messages >= limits.messages:
            raise _full(f"{limits.messages} messages")
        if self._bytes + size > limits.total_bytes:
            raise _full(f"{limits.total_bytes} bytes of messages")
        if len(self._topics) >= limits.topics and place not in self._topics:
            raise _full(f"messages in {limits.topics} topics")

    def _forget_keys(self, which: str, *values: float) -> None:
        self._keys -= self._database.execute(f"DELETE FROM keys WHERE {which}", values).rowcount  # noqa: S608

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _as_json(msg_id: str, topic: str, ts: float, payload: bytes, words: str, attempt: int) -> dict[str, Any]:
    return {
        "msg_id": msg_id,
        "topic": topic,
        "ts": ts,
        "payload_b64": b64encode(payload).decode("ascii"),
        "attrs": json.loads(words),
        "attempt": attempt,
    }


def _full(what: str) -> NodeError:
    return NodeError(
        ErrorCode.QUOTA_EXCEEDED, f"the mailbox is full: it holds {what}; receive and acknowledge some"
    )
