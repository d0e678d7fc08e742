"""An owner's small answer that came whole with its head, on its way to a caller.

What :mod:`micronode.adapters.relay` does for any body, for one of which nothing is to come: nobody waits,
paces or is told of anything, and it leaves in one write with its length known.
"""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred, fail

from micronode.adapters.jsoncheck import is_json_object
from micronode.adapters.lease import Lease
from micronode.adapters.relay import defect
from micronode.calls.call import ResponseHead
from micronode.interfaces import IResponseSink


def relay_whole(
    lease: Lease, data: bytes, head: ResponseHead, sink: IResponseSink, *, is_json: bool
) -> Deferred[None]:
    """Pass *data* on.

    :param is_json: it must be a JSON object.
    :return: as :attr:`~micronode.adapters.relay.Relay.done`.
    """
    if lease.max_body is not None and len(data) > lease.max_body:
        return fail(lease.fail(lease.bad_answer("answered more than it may")))
    if is_json and not is_json_object(data):
        # The connection is as good as any: what came over it was whole.
        lease.end("bad_gateway")
        return fail(lease.bad_answer("answered with what is no JSON object"))
    lease.end(lease.outcome)
    try:
        return sink.answer(head if head.length == len(data) else attrs.evolve(head, length=len(data)), data)
    except Exception:
        return fail(defect(lease.owner))
