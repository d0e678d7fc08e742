"""The table of operations that a node serves, and how one is found in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from micronode.calls.operations import MOUNT_ARGUMENTS, Mount, Operation, bind_all
from micronode.errors import ErrorCode, NodeError
from micronode.oap.wire.profiles import Profile


class OperationTable:
    """The operations a node serves, by profile and op; iterates in declaration order."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations = tuple(operations)
        self._by_op: dict[tuple[int, str], Operation] = {}
        #: By profile and op, then by facet.
        self._mounts: dict[tuple[int, str], dict[str, Mount]] = {}
        names: dict[str, Mount | None] = {}
        routes: set[tuple[str, str]] = set()
        for operation in self._operations:
            wire, route = (operation.profile, operation.op), (operation.method, operation.path)
            mount, mounts = operation.mount, self._mounts.get(wire)
            alone = operation.name not in names and wire not in self._by_op
            if mount is None:
                alone = alone and mounts is None
                self._by_op[wire] = operation
            elif mounts is not None and mounts.get(operation.facet) is mount:
                alone = names.get(operation.name) is mount
            else:
                alone = alone and operation.facet not in (mounts or ())
                self._mounts.setdefault(wire, {})[operation.facet] = mount
            if not alone or route in routes:
                raise ValueError(f"operation {operation.name} is declared twice")
            names[operation.name] = mount
            routes.add(route)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def by_op(self, profile: int, op: str, args: Mapping[str, Any] | None = None) -> Operation:
        """Return the operation *op* of *profile*.

        :param args: those of the call, by which one with a mount is found.
        :raises NodeError: ``unknown_app``, ``unknown_op``; of a mount ``bad_request`` and ``not_found``.
        """
        operation = self._by_op.get((profile, op))
        if operation is not None:
            return operation
        mounts = self._mounts.get((profile, op))
        if mounts is not None:
            return _find_mounted(mounts, args or {})
        ops = sorted(known for app, known in (*self._by_op, *self._mounts) if app == profile)
        if not ops:
            raise NodeError(ErrorCode.UNKNOWN_APP, f"profile {_spell(profile)} is not served here")
        raise NodeError(
            ErrorCode.UNKNOWN_OP, f"profile {_spell(profile)} has no such op; it has {', '.join(ops)}"
        )


def _find_mounted(mounts: Mapping[str, Mount], args: Mapping[str, Any]) -> Operation:
    found = bind_all(MOUNT_ARGUMENTS, args, parse=False)
    mount = mounts.get(found["facet"])
    if mount is None:
        raise NodeError(ErrorCode.NOT_FOUND, f"no such facet is served; there are {', '.join(mounts)}")
    try:
        return mount.find(found["method"], found["path"])
    except NodeError as error:
        if error.code is not ErrorCode.METHOD_NOT_ALLOWED:
            raise
        # That code is HTTP's.
        raise NodeError(ErrorCode.NOT_FOUND, error.message) from None


def _spell(profile: int) -> str:
    """Return *profile* as a person knows it."""
    try:
        return f"{Profile(profile).name.lower()} (0x{profile:04x})"
    except ValueError:
        return f"0x{profile:04x}"
