"""What an operation answers when all goes well, as its facet declares it: for documents, not for the call.

Nothing here is looked at while a call runs; ``http/openapi`` writes it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Answer:
    """One answer that is no error."""

    #: HTTP's.
    status: int = 200
    doc: str
    #: The media type of its body; ``*/*``: any. None: it has no body.
    content: str | None = "application/json"
    #: JSON Schema of a body that is JSON; None: nothing is said of it.
    schema: Mapping[str, Any] | None = None
    #: Header fields it always has: name -> JSON Schema of the value.
    headers: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)


def list_of(items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an array of *items*."""
    return {"type": "array", "items": items}


def object_of(**members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object that has *members*, all of them, and may have others."""
    return {"type": "object", "required": list(members), "properties": members}
