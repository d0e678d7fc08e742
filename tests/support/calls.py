"""Calls as an ingress would make them."""

from __future__ import annotations

from typing import Any

from micronode.calls.call import Call, Ingress
from micronode.calls.operations import Operation
from micronode.interfaces import IFacet


def operation_of(facet: IFacet, op: str) -> Operation:
    """Return the operation *op* of *facet*."""
    return next(operation for operation in facet.operations() if operation.op == op)


def make_call(operation: Any = None, args: dict[str, Any] | None = None, **fields: Any) -> Call:
    """Return a call of *operation*, whose arguments are bound as an OAP/1 head would be."""
    bound = operation.bind(args or {}) if operation is not None else (args or {})
    fields.setdefault("ingress", Ingress.OAP)
    fields.setdefault("request_id", "r-1")
    return Call(operation=operation, args=bound, **fields)
