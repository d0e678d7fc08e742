"""Which route of a custom facet a request takes: one matcher for both doors.

The first route that fits counts. A path is matched as it is sent, once more with its escapes decoded, and
without ``;parameters``: a service that decodes before it routes (as every WSGI program does), or leaves
parameters out (as servlets do), must not be led to what another route guards. Where two of them differ the
request is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from micronode.calls.operations import Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.forward import check_target

_ARGUMENT: Final = re.compile(r"\{[a-z_]+\}")
#: The last segment of a template: all that follows.
_REST: Final = "{rest}"


class RouteMount:
    """Finds operations of one facet; see :class:`~micronode.calls.operations.Mount`.

    :ivar operations: those it finds; each has a path of ``/app/FACET`` and its route's template.
    """

    def __init__(self, facet: str) -> None:
        self._facet = facet
        self._prefix = f"/app/{facet}"
        self._operations: tuple[Operation, ...] = ()
        self._by_method: dict[str, list[tuple[re.Pattern[str], Operation]]] = {}

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations, in the order of their routes."""
        return self._operations

    @operations.setter
    def operations(self, operations: Sequence[Operation]) -> None:
        self._operations = tuple(operations)
        for operation in operations:
            template = compile_template(operation.path.removeprefix(self._prefix))
            self._by_method.setdefault(operation.method, []).append((template, operation))

    def find(self, method: str, path: str) -> Operation:
        """Return the operation of *method* and *path*; see :class:`~micronode.calls.operations.Mount`."""
        raw, *others = check_target(path)
        found = self._match(method, raw)
        if any(self._match(method, other) is not found for other in others):
            raise NodeError(
                ErrorCode.BAD_REQUEST,
                "the path takes another route when it is decoded, or read without its ;parameters",
            )
        if found is not None:
            return found
        allowed = [each for each in self._by_method if self._match(each, raw) is not None]
        if not allowed:
            raise NodeError(ErrorCode.NOT_FOUND, f"facet {self._facet} has no route for this path")
        allow = ", ".join(sorted(allowed))
        raise NodeError(ErrorCode.METHOD_NOT_ALLOWED, f"this path takes {allow}", headers=(("Allow", allow),))

    def _match(self, method: str, path: str) -> Operation | None:
        for template, operation in self._by_method.get(method, ()):
            if template.fullmatch(path):
                return operation
        return None


def compile_template(template: str) -> re.Pattern[str]:
    """Return what matches the paths of *template*; ``{name}`` is one segment, a last ``{rest}`` all."""
    whole, rest = template, ""
    if template.endswith(f"/{_REST}"):
        whole, rest = template.removesuffix(_REST), ".*"
    parts = (re.escape(each) for each in _ARGUMENT.split(whole))
    return re.compile("[^/]+".join(parts) + rest, re.DOTALL)
