"""What a process was started with by a service manager: listening sockets, and somebody who wants to know.

Taken once, by the commands that run a node; without a manager it is nothing and does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from micronode.cli.activation import at_start, check_sockets, take_sockets
from micronode.cli.notify import Notifier, take_notifier
from micronode.cli.runner import log

if TYPE_CHECKING:
    from micronode.config.schema import Config
    from micronode.node import NodeService


class Supervisor:
    """The service manager, as a node's process sees it.

    :ivar sockets: listening sockets by name.
    """

    def __init__(self, notifier: Notifier, sockets: Mapping[str, socket.socket]) -> None:
        self.sockets = sockets
        self._notifier = notifier

    @classmethod
    def take(cls, config: Config, environ: MutableMapping[str, str] = os.environ) -> Supervisor:
        """Take what *environ* tells of, out of it: it is meant for this process and none of its children.

        :raises CommandError: *config* asks for a socket that is not there, or one that is there is unfit.
        """
        notifier = take_notifier(environ)
        sockets = take_sockets(environ, at_start())
        unused = check_sockets(config, sockets)
        if unused:
            log.warn("sockets_unused", reason=f"no listener is systemd:NAME for {', '.join(unused)}")
        return cls(notifier, sockets)

    def begin(self, reactor: Any) -> None:
        """Show that the process lives, from when the reactor runs."""
        self._notifier.begin(reactor)

    def follow(self, node: NodeService) -> None:
        """Tell about *node*, which has not been started; after :meth:`begin`."""
        self._notifier.follow(node)
