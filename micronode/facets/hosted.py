"""Facets that a host program brings along, and what any facet is served with.

A host that embeds a node hands its own :class:`~micronode.interfaces.IFacet` objects to ``make_node``; they
are routed, gated, measured and drained as the built-in ones are. ``docs/FACETS.rst``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from micronode.calls.operations import Operation
from micronode.interfaces import IFacet

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


def _is_count(_: object, field: Any, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{field.name} is a whole number from 1 on, not {value!r}")


def _is_count_or_none(_: object, field: Any, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{field.name} is a whole number from 0 on, not {value!r}")


def _is_duration(_: object, field: Any, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{field.name} is a number of seconds above 0, not {value!r}")


@attrs.frozen(kw_only=True)
class FacetSettings:
    """How a facet is served; for the built-in ones this is configured, for a host's own given along.

    :raises ValueError: a value is no number, or not positive.
    """

    #: Calls it serves at a time; one more is refused with 429.
    limit: int = attrs.field(default=64, validator=_is_count)
    #: Calls that may wait for their turn beyond that, within their timeout.
    queue: int = attrs.field(default=0, validator=_is_count_or_none)
    #: Seconds from dispatch to the head of the answer.
    timeout: float = attrs.field(default=5.0, validator=_is_duration)
    #: Subscriptions it holds at a time, beside the calls.
    subscriptions: int = attrs.field(default=1024, validator=_is_count_or_none)


#: A facet, or one with its settings.
Hosted: TypeAlias = IFacet | tuple[IFacet, FacetSettings]


@attrs.frozen
class Served:
    """A facet as it is served."""

    settings: FacetSettings
    operations: tuple[Operation, ...]


def serve_hosted(facets: Iterable[Hosted], taken: Collection[str]) -> dict[str, Served]:
    """Return a host's *facets* by name, checked.

    :param taken: the names of the built-in and the configured facets, switched on or not.
    :raises ValueError: one is no IFacet, its name is taken, or no name for metrics and paths, or its
        operations are not its own.
    """
    served: dict[str, Served] = {}
    for each in facets:
        pair: Sequence[Any] = each if isinstance(each, tuple) else (each, FacetSettings())
        if len(pair) != 2 or not isinstance(pair[1], FacetSettings):
            raise ValueError(f"{each!r} is neither an IFacet nor a pair of one and its FacetSettings")
        facet, settings = pair
        try:
            verifyObject(IFacet, facet)
        except Invalid as error:
            raise ValueError(f"{facet!r} is no IFacet: {error}") from None
        name = facet.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"facet {name!r}: a name is a lower-case letter, then letters, digits and _")
        if name in taken:
            raise ValueError(f"facet {name!r}: a facet of the node's own has that name; choose another")
        if name in served:
            raise ValueError(f"facet {name!r} is given twice")
        operations = tuple(facet.operations())
        for operation in operations:
            _check(name, operation)
        served[name] = Served(settings, operations)
    return served


def _check(name: str, operation: Operation) -> None:
    """Refuse an operation that would be gated or measured as another facet's."""
    if operation.facet != name:
        raise ValueError(f"facet {name!r}: operation {operation.name} says that it is of {operation.facet!r}")
    if not operation.name.startswith(f"{name}."):
        raise ValueError(f"facet {name!r}: operation {operation.name!r} must be named {name}.<op>")
    if not 0 < operation.profile <= 0xFFFF:
        raise ValueError(f"facet {name!r}: {operation.name} has profile {operation.profile}, not 1 to 65535")
