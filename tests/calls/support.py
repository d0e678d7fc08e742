"""Operations of no facet's."""

from __future__ import annotations

from typing import Any

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Operation


async def say_yes(call: Call) -> Reply:
    return Reply(head=ResponseHead())


def make_operation(name: str = "search.query", **fields: Any) -> Operation:
    facet, _, op = name.partition(".")
    given = {
        "name": name,
        "facet": facet,
        "method": "GET",
        "path": f"/app/{facet}/{op}",
        "profile": 0x0402,
        "op": op,
        "access": Access.READ,
        "handler": say_yes,
    }
    return Operation(**(given | fields))
