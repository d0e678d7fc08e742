"""What the OpenAPI document tells of operations with a mount: that they are passed through.

What stands behind such a facet is not known here: its answers are its own, whatever their status.
"""

from __future__ import annotations

import re
from typing import Any, Final

from micronode.calls.operations import Access, BodyRule, Operation
from micronode.http.limits import MAX_HTTP_BODY_BYTES

_SEGMENT: Final = re.compile(r"\{([a-z0-9_]+)\}")
_REST: Final = "rest"


def mounted_operation(operation: Operation, template: str, operation_id: str) -> dict[str, Any]:
    """Return what is told of *operation*.

    :param template: its path, perhaps with other names in it.
    :param operation_id: its name, made the only one of its kind.
    """
    text = "Passed on as it comes, and so is the answer, whatever its status."
    if operation.access is Access.READ and operation.idempotent:
        text += " The node may ask twice for it."
    told: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [operation.facet],
        "summary": operation.summary,
        "description": text,
        "parameters": [
            *map(_parameter, _SEGMENT.findall(template), _SEGMENT.findall(operation.path)),
            {"$ref": "#/components/parameters/RequestID"},
            {"$ref": "#/components/parameters/TenantID"},
        ],
        "responses": {
            "default": {
                "description": "The service's answer, or an error of the node's own (components, Error)."
            }
        },
        "x-micronode-access": operation.access.value,
        "x-micronode-oap": {"profile": int(operation.profile), "op": operation.op},
        "x-micronode-passed-through": True,
    }
    if operation.body is not BodyRule.NONE:
        most = min(operation.max_body, MAX_HTTP_BODY_BYTES)
        told["requestBody"] = {
            "description": f"At most {most} bytes, in whatever encoding the service takes.",
            "content": {"*/*": {}},
            "x-micronode-max-bytes": most,
        }
    return told


def _parameter(name: str, own_name: str) -> dict[str, Any]:
    if own_name == _REST:
        schema: dict[str, Any] = {"type": "string"}
        text = "All that follows, slashes included; it may be empty."
    else:
        schema = {"type": "string", "minLength": 1, "pattern": r"^[^\u0000/\\]+$"}
        text = "One segment."
    return {"name": name, "in": "path", "required": True, "description": text, "schema": schema}
