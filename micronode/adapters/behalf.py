"""On whose behalf an owner is asked, and on which terms: what every adapter passes on of a caller's call."""

from __future__ import annotations

from typing import TypedDict

from micronode.adapters.request import call_headers
from micronode.calls.call import Call


class Terms(TypedDict):
    """Arguments of :meth:`~micronode.interfaces.IOwnerClient.call` that say so."""

    headers: list[tuple[bytes, bytes]]
    idempotent: bool
    deadline_s: float | None
    caller_s: float | None


def terms(call: Call, deadline_s: float | None) -> Terms:
    """Return the terms of *call*, made of the caller's words that were checked, and of nothing else of it.

    :param deadline_s: its facet's timeout.
    """
    headers = call_headers(call)
    if call.token_id is not None:
        headers.append((b"x-micronode-token-id", call.token_id.encode("ascii")))
    return {
        "headers": headers,
        "idempotent": call.operation.idempotent,
        "deadline_s": deadline_s,
        "caller_s": call.deadline_s,
    }
