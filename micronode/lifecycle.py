"""The life of a node: STARTING -> RUNNING -> DRAINING -> STOPPED, as a typed automat machine.

The machine says which state follows which; what has to be done on the way is
:class:`micronode.node.NodeService`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from automat import TypeMachineBuilder


class State(Enum):
    """Where in its life a node is; the value is what ``/readyz`` and metrics show."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


class Lifecycle(Protocol):
    """What can happen to a node. Each input is harmless where it has no meaning."""

    def started(self) -> None:
        """Listeners are bound and configuration is in force."""

    def drain(self) -> None:
        """Stop was asked for: no longer ready."""

    def stopped(self) -> None:
        """The last call is over and every listener is closed."""


class _Core:
    """Holds the current state and tells one listener of every change."""

    def __init__(self, changed: Callable[[State], None]) -> None:
        self.changed = changed


def _build() -> Callable[[_Core], Lifecycle]:
    builder = TypeMachineBuilder(Lifecycle, _Core)
    starting = builder.state("starting")
    running = builder.state("running")
    draining = builder.state("draining")
    stopped = builder.state("stopped")

    @starting.upon(Lifecycle.started).to(running)
    def run(lifecycle: Lifecycle, core: _Core) -> None:
        core.changed(State.RUNNING)

    @starting.upon(Lifecycle.drain).to(draining)
    @running.upon(Lifecycle.drain).to(draining)
    def begin_drain(lifecycle: Lifecycle, core: _Core) -> None:
        core.changed(State.DRAINING)

    @draining.upon(Lifecycle.stopped).to(stopped)
    def end(lifecycle: Lifecycle, core: _Core) -> None:
        core.changed(State.STOPPED)

    for state in (running, draining, stopped):
        state.upon(Lifecycle.started).loop().returns(None)
    for state in (draining, stopped):
        state.upon(Lifecycle.drain).loop().returns(None)
    for state in (starting, running, stopped):
        state.upon(Lifecycle.stopped).loop().returns(None)
    return builder.build()


_machine = _build()


def make_lifecycle(changed: Callable[[State], None]) -> Lifecycle:
    """Return a machine in STARTING.

    :param changed: called with the new state at every change, synchronously.
    """
    return _machine(_Core(changed))
