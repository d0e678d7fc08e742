"""A node's life as the process around it sees it: reading its configuration again, SIGHUP, the log's level.

What holds for the whole process is done here and nowhere below ``cli``; a host program that embeds a node
does as much of it as it likes.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.bus import ConfigUpdated, StateChanged

if TYPE_CHECKING:
    from micronode.config.sources import Loaded
    from micronode.node import NodeService

_log = Logger()


class HasLevel(Protocol):
    """The log's observer, as far as it is changed here."""

    def set_level(self, level: str) -> None:
        """Write what is at least *level* from now on."""


def reader(reactor: Any, load: Callable[[], Loaded]) -> Callable[[], Awaitable[Loaded]]:
    """Return what a node reads its configuration again with: *load*, in a thread.

    A disk may be slow, or never answer. The thread is one that the end of the process does not wait for,
    which it would for those of the reactor's pool.
    """

    def read() -> Deferred[Loaded]:
        loaded: Deferred[Loaded] = Deferred()

        def tell(result: Any) -> None:
            # Nobody may wait any more.
            if not loaded.called:
                loaded.callback(result)

        def work() -> None:
            try:
                result: Any = load()
            except Exception:
                result = Failure()
            reactor.callFromThread(tell, result)

        threading.Thread(target=work, name="reload", daemon=True).start()
        return loaded

    return read


def reload_node(node: NodeService | None) -> None:
    """Let *node* read its configuration again, for SIGHUP; it logs what comes of it.

    :param node: None where there is none yet.
    """
    if node is None:
        _log.warn("config_reload_ignored", reason="the node has not started yet")
    else:
        node.reload()


def follow(node: NodeService, reactor: Any, observer: HasLevel | None, drained: Callable[[], None]) -> None:
    """Do in the process what *node*'s events ask for, until it has stopped.

    :param observer: takes the level of a configuration that was reloaded; None: the log is not ours.
    :param drained: called once, soon after the node began to stop, whoever asked it to.
    """
    Deferred.fromCoroutine(_follow(node, reactor, observer, drained))


async def _follow(
    node: NodeService, reactor: Any, observer: HasLevel | None, drained: Callable[[], None]
) -> None:
    async for event in node.bus.subscribe():
        if isinstance(event, ConfigUpdated):
            if observer is not None:
                observer.set_level(node.config.log.level)
        elif isinstance(event, StateChanged) and event.state == "draining":
            # Not now: the node is in the middle of telling.
            reactor.callLater(0, drained)
