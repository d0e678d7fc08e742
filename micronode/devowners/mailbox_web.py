"""The mailbox owner over HTTP: ``POST /v1/send``, ``/v1/recv``, ``/v1/ack/{id}`` and ``/v1/nack/{id}``.

The shapes are those of ``docs/OWNERS.rst``. Everything is kept apart by ``X-Micronode-Tenant``.
"""

from __future__ import annotations

import re
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from micronode.devowners.deliveries import Deliveries, Messages
from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.mailbox import DEAD, Wish
from micronode.devowners.members import Members
from micronode.devowners.request import OwnerRequest
from micronode.errors import ErrorCode, NodeError

MAX_PAYLOAD_BYTES: Final = 2**20
#: A payload in base64, its attributes with every character escaped, and names.
MAX_SEND_BYTES: Final = 2**21
MAX_RECV_BYTES: Final = 65_536
MAX_TOPIC_CHARS: Final = 256
MAX_KEY_CHARS: Final = 256

DEFAULT_VISIBILITY_MS: Final = 30_000
MAX_VISIBILITY_MS: Final = 12 * 3_600_000
MAX_MESSAGES: Final = 100
#: The longest message there may be fits into the default.
DEFAULT_ANSWER_BYTES: Final = 2**21
MAX_ANSWER_BYTES: Final = 2**23
MAX_WAIT_MS: Final = 60_000

#: Who says no tenant is the one that OAP/1 calls unspecified.
NO_TENANT: Final = "0" * 32
_TENANT: Final = re.compile(r"[0-9a-f]{32}")


class MailboxOwner(Owner):
    """Answers for a :class:`~micronode.devowners.mailbox.Mailbox`."""

    name = "mailbox"

    def __init__(self, deliveries: Deliveries) -> None:
        super().__init__()
        self._deliveries = deliveries

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for one of the four paths."""
        what = (name, *keys[:1], len(keys))
        exchange: _Asked
        if what == ("v1", "send", 1):
            exchange = _Send(request, self._deliveries)
        elif what == ("v1", "recv", 1):
            exchange = _Receive(request, self._deliveries)
        elif what in (("v1", "ack", 2), ("v1", "nack", 2)):
            exchange = _Settle(request, self._deliveries, keys[0], keys[1])
        else:
            raise NodeError(ErrorCode.NOT_FOUND, "the mailbox has no such path")
        request.allow(b"POST")
        exchange.tenant = _read_tenant(request)
        return exchange

    def stop(self) -> bool:
        """Answer those who wait."""
        return self._deliveries.end()


def _read_tenant(request: OwnerRequest) -> str:
    tenant = request.field(b"x-micronode-tenant") or NO_TENANT
    if not _TENANT.fullmatch(tenant):
        raise NodeError(ErrorCode.BAD_REQUEST, "X-Micronode-Tenant must be 32 lower-case hex digits")
    return tenant


class _Asked(Exchange):
    """One with a small body that is collected."""

    tenant = NO_TENANT

    def __init__(self, request: OwnerRequest, deliveries: Deliveries) -> None:
        super().__init__(request)
        self.deliveries = deliveries
        self.collected = bytearray()

    def body(self, data: bytes) -> None:
        self.collected += data


class _Send(_Asked):
    route = "send"
    max_body_bytes = MAX_SEND_BYTES

    def answer(self) -> None:
        members = Members(bytes(self.collected))
        # Room for what its dead letters' topic is called.
        topic = members.text("topic", max_chars=MAX_TOPIC_CHARS - len(DEAD))
        key = members.text("idem_key", max_chars=MAX_KEY_CHARS)
        payload = members.base64("payload_b64")
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise NodeError(ErrorCode.BODY_TOO_LARGE, f"the payload exceeds {MAX_PAYLOAD_BYTES} bytes")
        attributes = members.texts("attrs")
        msg_id, is_duplicate = self.deliveries.send((self.tenant, topic), key, payload, attributes)
        self.request.reply({"msg_id": msg_id, "duplicate": is_duplicate}, status=200 if is_duplicate else 201)


class _Receive(_Asked):
    """Waits for messages; who leaves meanwhile takes none along."""

    route = "recv"
    max_body_bytes = MAX_RECV_BYTES
    _waiting: Deferred[Messages] | None = None

    def answer(self) -> Deferred[None]:
        members = Members(bytes(self.collected))
        place = (self.tenant, members.text("topic", max_chars=MAX_TOPIC_CHARS))
        visibility_ms = members.integer(
            "visibility_ms", default=DEFAULT_VISIBILITY_MS, minimum=1, maximum=MAX_VISIBILITY_MS
        )
        wish = Wish(
            max_messages=members.integer("max_messages", default=1, minimum=1, maximum=MAX_MESSAGES),
            max_bytes=members.integer(
                "max_bytes", default=DEFAULT_ANSWER_BYTES, minimum=1, maximum=MAX_ANSWER_BYTES
            ),
            visibility_s=visibility_ms / 1000,
        )
        wait_ms = members.integer("wait_ms", default=0, minimum=0, maximum=MAX_WAIT_MS)
        self._waiting = self.deliveries.receive(place, wish, wait_ms / 1000)
        return self._waiting.addCallbacks(self._reply, _left)

    def lost(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _reply(self, messages: list[dict[str, Any]]) -> None:
        self.request.reply({"messages": messages})


class _Settle(_Asked):
    """Acknowledges a message, or gives it back."""

    max_body_bytes = MAX_RECV_BYTES

    def __init__(self, request: OwnerRequest, deliveries: Deliveries, route: str, msg_id: str) -> None:
        super().__init__(request, deliveries)
        self.route = route
        self._msg_id = msg_id

    def body(self, data: bytes) -> None:
        """It means nothing here."""

    def answer(self) -> None:
        settle = self.deliveries.ack if self.route == "ack" else self.deliveries.nack
        if not settle(self.tenant, self._msg_id):
            raise NodeError(ErrorCode.NOT_FOUND, "there is no such message")
        self.request.reply_nothing()


def _left(failure: Failure) -> None:
    failure.trap(CancelledError)
