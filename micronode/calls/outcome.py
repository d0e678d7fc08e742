"""What comes of a call that was admitted: its answer is relayed, or its caller told why there is none.

Used by :mod:`micronode.calls.dispatcher`, which counts what came of it.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from micronode.calls.call import Call
from micronode.calls.deadline import Deadline
from micronode.calls.running import Running
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink

_log = Logger()
#: What the log calls calls that a stop of the node has cut.
CUT: Final = "drain_deadline"


async def answer(call: Call, sink: IResponseSink, running: Running, deadline: Deadline) -> None:
    """Ask the facet and relay what it answers; an answer that fails is let go of."""
    reply = await call.operation.handler(call)
    body = reply.body
    try:
        if running.given_up or deadline.error is not None:
            # The handler kept an answer back although it was cancelled: too late is too late.
            raise CancelledError
        if body is None:
            sink.start(reply.head)
            await sink.finish()
        else:
            await body.relay(reply.head, sink)
    except Exception:
        if body is not None:
            body.abort()
        raise


def tell(call: Call, sink: IResponseSink, error: Exception, running: Running) -> str:
    """Tell the caller, if there still is one, of *error*; return the call's ``result``.

    Called while *error* is being handled, so that a defect is logged with its traceback.
    """
    expected = isinstance(error, NodeError) or (running.given_up and isinstance(error, CancelledError))
    if not expected:
        _log.failure("call_failed", route=call.operation.name, request_id=call.request_id)
    if running.ended is not None:
        fail(call, sink, running.ended)
    if running.given_up:
        return "cancelled"
    if not isinstance(error, NodeError):
        error = NodeError(ErrorCode.INTERNAL, "a defect of the node; its log has the request id")
    fail(call, sink, error)
    return result_of(error)


def cut(retry_after_s: float) -> NodeError:
    """Return the error of a call that was admitted, and that the node does not let finish because it stops.

    Its owner may have done it: so it is none of the four errors that say that nothing was done.
    """
    message = "the node stops and waited no longer for the owner; whether this was done is not known"
    return NodeError(ErrorCode.OWNER_TIMEOUT, message, retry_after_s=retry_after_s, reason=CUT)


def result_of(error: NodeError) -> str:
    """Return what ``ron_facet_requests_total`` calls a call that ended with *error*."""
    if error.code is ErrorCode.CANCELLED:
        return "cancelled"
    return "failed" if error.code.status >= 500 else "refused"


def fail(call: Call, sink: IResponseSink, error: NodeError) -> None:
    """Tell the caller of *error*."""
    try:
        sink.fail(error)
    except Exception:
        # A defect of a sink must not keep a permit or surface where nobody listens.
        _log.failure("sink_failed", route=call.operation.name, request_id=call.request_id)
