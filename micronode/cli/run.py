"""``micronode run``: the node in the foreground."""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from micronode.cli import polling
from micronode.cli.exits import CommandError, Exit
from micronode.cli.garbage import settle
from micronode.cli.options import NodeOptions
from micronode.cli.reloading import follow, reader, reload_node
from micronode.cli.runner import Runner, log
from micronode.cli.supervisor import Supervisor
from micronode.config.problems import ConfigError

if TYPE_CHECKING:
    from micronode.config.schema import Config
    from micronode.config.sources import Loaded
    from micronode.node import NodeService
    from micronode.observability.logging import LineObserver


def main(argv: Sequence[str]) -> int:
    """Run the node until a signal comes.

    :return: 0 after a stop in order.
    :raises CommandError: usage, configuration.
    """
    options = NodeOptions()
    options.parse(argv)
    loaded = options.load()
    polling.install()
    from twisted.internet import reactor

    observer = begin_logging(loaded, reactor)
    supervisor = Supervisor.take(loaded.config)
    node = build_node(loaded.config, reactor, reader(reactor, options.load_again), supervisor.sockets)
    supervisor.begin(reactor)
    supervisor.follow(node)

    async def start() -> None:
        start_node(node)
        settle()

    runner = Runner(
        reactor,
        start=start,
        stop=lambda: stop_node(node),
        hurry=node.hurry,
        reload=lambda: reload_node(node),
    )
    follow(node, reactor, observer, runner.drained)
    return runner.run()


def begin_logging(loaded: Loaded, reactor: Any) -> LineObserver:
    """Start the log as the configuration says, and say what was odd in finding it."""
    from micronode.observability.logging import start_logging

    observer = start_logging(sys.stderr, loaded.config.log.level, loaded.config.log.format, reactor)
    for warning in loaded.warnings:
        log.warn("environment", reason=warning)
    return observer


def build_node(
    config: Config,
    reactor: Any,
    read: Callable[[], Awaitable[Loaded]],
    sockets: Mapping[str, socket.socket],
) -> NodeService:
    """Build the node; nothing is bound yet.

    :param read: reads its configuration again.
    :param sockets: those for its listeners ``systemd:NAME``.
    :raises CommandError: the configuration is refused.
    """
    from micronode.node import make_node

    try:
        return make_node(config, reactor, read=read, sockets=sockets)
    except ConfigError as error:
        # Of what can be told only now: a file that it names is of no use.
        raise CommandError.refused(error) from None


def start_node(node: NodeService) -> None:
    """Bind the listeners and start.

    :raises CommandError: a listener cannot be bound, in one line.
    """
    from micronode.concurrency.listening import ListenError

    try:
        node.privilegedStartService()
        node.startService()
    except ListenError as error:
        raise CommandError(Exit.UNAVAILABLE, str(error)) from None


async def stop_node(node: NodeService) -> None:
    """Drain and stop; one that never bound its listeners has nothing to drain."""
    if node.addresses:
        await node.stopService()
