"""Where objects are looked for: in storage, and what is not there, at the overlay, which has peers to ask.

Only storage's 404 leads there. Of an object that storage cannot be asked for nobody knows whether it has to
come from afar. And where storage has it not, and the overlay cannot be asked, the answer is the overlay's
error: that there is no such object would be a guess, which a caller might keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs
from twisted.internet.defer import Deferred

from micronode.calls.call import Call
from micronode.interfaces import IObjectOwner, IOwnerReply

#: What is asked: of which owner, and in which call.
Question: TypeAlias = Callable[[IObjectOwner, Call], "Deferred[IOwnerReply]"]


@attrs.frozen(kw_only=True)
class Overlay:
    """The overlay, and how long a call may take that ends there."""

    owner: IObjectOwner
    #: The facet's: what storage has used up is part of it.
    timeout_s: float
    #: Tells the time.
    seconds: Callable[[], float]


async def find_object(
    question: Question, call: Call, storage: IObjectOwner, overlay: Overlay | None
) -> tuple[IOwnerReply, str]:
    """Ask *question* in *call*, of *storage* and where that has no such object, of *overlay*.

    :return: the answer that counts, and the name of who gave it.
    :raises NodeError: who had to be asked could not be.
    """
    if overlay is None:
        return await question(storage, call), "storage"
    began = overlay.seconds()
    reply = await question(storage, call)
    if reply.status != 404:
        return reply, "storage"
    reply.discard()
    # As if the caller had set it: the overlay cannot be blamed for what storage took of it.
    allowed_s = overlay.timeout_s if call.deadline_s is None else min(overlay.timeout_s, call.deadline_s)
    left_s = allowed_s - (overlay.seconds() - began)
    return await question(overlay.owner, attrs.evolve(call, deadline_s=left_s)), "overlay"
