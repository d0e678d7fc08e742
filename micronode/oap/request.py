"""From a START to a :class:`~micronode.calls.call.Call`: what is asked for, checked.

``specs/oap-1.md`` section 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from micronode.calls.call import Call, Ingress
from micronode.calls.context import check_idempotency_key, read_traceparent
from micronode.calls.operations import Operation
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.events import StreamOpened
from micronode.oap.wire.heads import CallHead, HeadError, parse_call_head

if TYPE_CHECKING:
    from micronode.oap.upload import Upload


class Asked(NamedTuple):
    """What a START asks for: an operation that is served, and arguments that fit it."""

    operation: Operation
    args: dict[str, Any]
    head: CallHead


def read_start(table: OperationTable, opened: StreamOpened) -> Asked:
    """Read the head of *opened*.

    :raises NodeError: ``bad_json``, ``bad_request``, ``unknown_app``, ``unknown_op``.
    """
    try:
        head = parse_call_head(opened.head)
    except HeadError as error:
        raise NodeError(error.code, error.message) from None
    operation = table.by_op(opened.app, head.op, head.args)
    if operation.subscribes and not opened.windowed:
        message = f"{operation.name} subscribes: its START needs the flag ACK_REQ"
        raise NodeError(ErrorCode.BAD_REQUEST, message)
    if head.idempotency_key is not None:
        check_idempotency_key(head.idempotency_key, "'idempotency_key'")
    return Asked(operation, operation.bind(head.args), head)


def make_call(
    asked: Asked, opened: StreamOpened, *, request_id: str, peer: str, body: Upload | None, origin: str = ""
) -> Call:
    """Build the call of a stream.

    :param body: the request's body, None where the operation takes none.
    """
    operation, args, head = asked
    return Call(
        operation=operation,
        args=args,
        ingress=Ingress.OAP,
        request_id=request_id,
        body=body,
        body_done=body.passed_on if body is not None and not opened.ended else None,
        tenant=opened.tenant,
        # What is no ASCII is no capability; the replacement character keeps it from being one.
        capability=opened.cap.decode("ascii", "replace") if opened.cap else None,
        traceparent=read_traceparent(head.traceparent),
        idempotency_key=head.idempotency_key,
        deadline_s=head.deadline_ms / 1000 if head.deadline_ms is not None else None,
        corr_id=opened.corr_id,
        peer=peer,
        origin=origin,
    )
