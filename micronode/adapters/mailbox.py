"""The mailbox owner: topics of messages that come again until they are acknowledged."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from zope.interface import implementer

from micronode.adapters.behalf import Terms, terms
from micronode.adapters.jsonbody import JSON_TYPE, JsonBody
from micronode.adapters.request import segment
from micronode.calls.call import Call
from micronode.interfaces import IMailboxOwner, IOwnerClient, IOwnerReply
from micronode.oap.wire.heads import dump_object


@implementer(IMailboxOwner)
class MailboxClient:
    """See :class:`~micronode.interfaces.IMailboxOwner`.

    :param deadline_s: seconds that a call may take up to the head of its answer: its facet's timeout.
    """

    def __init__(self, owner: IOwnerClient, *, deadline_s: float | None = None) -> None:
        self._owner = owner
        self._deadline_s = deadline_s

    def send(
        self, call: Call, topic: str, payload: bytes, *, key: str, attributes: Mapping[str, str]
    ) -> Deferred[IOwnerReply]:
        """Add a message to *topic*."""
        said = dump_object({"topic": topic, "idem_key": key, "attrs": dict(attributes)})
        # The payload needs no escapes, and is not to be looked through for any.
        data = said[:-1] + b',"payload_b64":"' + b64encode(payload) + b'"}'
        return self._owner.call(b"POST", b"/v1/send", body=JsonBody(data), **self._terms(call, JSON_TYPE))

    def recv(
        self, call: Call, topic: str, *, max_messages: int, max_bytes: int, visibility_ms: int, wait_ms: int
    ) -> Deferred[IOwnerReply]:
        """Take messages of *topic*."""
        data = dump_object(
            {
                "topic": topic,
                "max_messages": max_messages,
                "max_bytes": max_bytes,
                "visibility_ms": visibility_ms,
                "wait_ms": wait_ms,
            }
        )
        asked = self._terms(call, JSON_TYPE)
        return self._owner.call(b"POST", b"/v1/recv", body=JsonBody(data), wait_s=wait_ms / 1000, **asked)

    def ack(self, call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """Confirm a message."""
        return self._owner.call(b"POST", b"/v1/ack/" + segment(msg_id), **self._terms(call))

    def nack(self, call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """Give a message back."""
        return self._owner.call(b"POST", b"/v1/nack/" + segment(msg_id), **self._terms(call))

    def _terms(self, call: Call, *fields: tuple[bytes, bytes]) -> Terms:
        asked = terms(call, self._deadline_s)
        asked["headers"] += fields
        asked["idempotent"] = False
        return asked
