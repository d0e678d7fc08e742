"""What ``twistd micronode`` runs: the same options and the same node, under twistd's own roof.

twistd forks, logs and writes its pid file before or around our code; what it writes by default is
switched off, what its user asked for is kept.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from twisted.application.service import IService, MultiService

from micronode.cli.exits import CommandError, Exit
from micronode.cli.options import TwistdOptions
from micronode.cli.run import build_node
from micronode.cli.runner import say

#: twistd looks it up by this name.
Options = TwistdOptions

#: twistd's own default for --pidfile.
_DEFAULT_PIDFILE = "twistd.pid"


class TwistdService(MultiService):
    """Holds the node; a listener that cannot be bound ends twistd with one line, not a traceback."""

    def __init__(self, node: IService, reactor: Any, *, daemon: bool = False) -> None:
        """:param daemon: twistd forks away; its standard error is closed by the time we bind, so the
        error goes to twistd, which prints it.
        """
        super().__init__()
        self._reactor = reactor
        self._daemon = daemon
        node.setServiceParent(self)

    def privilegedStartService(self) -> None:
        self._guarded(super().privilegedStartService)

    def startService(self) -> None:
        self._guarded(super().startService)
        # twistd leaves SIGHUP deadly.
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._hangup))

    def _guarded(self, start: Any) -> None:
        from micronode.concurrency.listening import ListenError

        try:
            start()
        except ListenError as error:
            if self._daemon:
                raise
            say(str(error))
            raise SystemExit(Exit.UNAVAILABLE) from None

    def _hangup(self) -> None:
        say("reload by SIGHUP is not available yet in this release; restart to read the configuration")


def makeService(options: TwistdOptions) -> IService:
    """Make the service that twistd runs.

    :raises SystemExit: 78, after a line for each problem of the configuration.
    """
    from twisted.internet import reactor

    parent = options.parent
    try:
        loaded = options.load()
    except CommandError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.code) from None
    for warning in loaded.warnings:
        say(warning)
    daemon = False
    if parent is not None:
        daemon = not parent.get("nodaemon", True)
        if parent.get("pidfile") == _DEFAULT_PIDFILE:
            parent["pidfile"] = ""
    return TwistdService(build_node(loaded.config, reactor), reactor, daemon=daemon)
