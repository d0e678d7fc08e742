"""What ``twistd micronode`` and ``twist micronode`` run: the same options and node, under another roof.

twistd forks, logs and writes its pid file before or around our code, twist logs; what they do by default
gives way to what the node is configured to do, what their user asked for is kept.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, LogLevel
from twisted.python.components import Componentized

from micronode.cli import lookups, polling
from micronode.cli.exits import CommandError, Exit, print_error, say
from micronode.cli.garbage import settle
from micronode.cli.hangup import take_hangup
from micronode.cli.hostlog import HostLog
from micronode.cli.options import TwistdOptions, is_twist
from micronode.cli.reloading import follow, reader, reload_node
from micronode.cli.run import build_node
from micronode.cli.runner import log
from micronode.cli.streams import open_missing
from micronode.cli.supervisor import Supervisor
from micronode.config.schema import Log

if TYPE_CHECKING:
    from micronode.node import NodeService
    from micronode.observability.logging import LineObserver

#: twistd looks it up by this name.
Options = TwistdOptions

#: twistd's own default for --pidfile.
_DEFAULT_PIDFILE = "twistd.pid"


class TwistdService(MultiService):
    """Holds the node; a listener that cannot be bound ends twistd with one line, not a traceback."""

    def __init__(
        self,
        node: NodeService,
        reactor: Any,
        supervisor: Supervisor,
        *,
        observer: LineObserver | HostLog | None = None,
        daemon: bool = False,
    ) -> None:
        """:param supervisor: is told about the node, from when twistd has forked.
        :param observer: takes the log, or stands before those of twistd that do.
        :param daemon: twistd forks away; its standard error is closed by the time we bind, so the
        error goes to twistd, which prints it.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._node = node
        self._supervisor = supervisor
        self._observer = observer
        self._daemon = daemon
        self._stopping = False
        node.setServiceParent(self)  # type: ignore[no-untyped-call]

    def setServiceParent(self, parent: Any) -> None:
        if isinstance(parent, Componentized):  # the application; nobody has begun to log yet
            if isinstance(self._observer, HostLog):
                self._observer.stand_before()
            elif self._observer is not None:
                # twistd asks for one before it makes one of its own.
                parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        self._guarded(super().privilegedStartService)

    def startService(self) -> None:
        lookups.install(self._reactor)
        self._supervisor.begin(self._reactor)
        self._supervisor.follow(self._node)
        self._guarded(super().startService)
        settle()
        follow(self._node, self._reactor, self._observer, self._drained)
        # twistd leaves SIGHUP deadly.
        self._terminal, came = take_hangup(lambda *_: self._reactor.callFromThread(self._hung_up))
        if came:
            self._reactor.callWhenRunning(self._hung_up)
        self._reactor.callWhenRunning(self._watch_signals)

    def _watch_signals(self) -> None:
        """Let the reactor have the first signal to stop, and the node all further ones."""
        for number in (signal.SIGTERM, signal.SIGINT):
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, partial(self._signalled, stop))

    def _signalled(self, stop: Callable[[int, FrameType | None], Any], number: int, frame: Any) -> None:
        if self._stopping:
            self._reactor.callFromThread(self._node.hurry)
        else:
            self._stopping = True
            stop(number, frame)

    def _hung_up(self) -> None:
        if self._terminal.is_gone:
            self._drained()
        else:
            reload_node(self._node)

    def _drained(self) -> None:
        """Stop: the node has begun to by itself, or nobody is left to whom it belongs."""
        self._stopping = True
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def _guarded(self, start: Callable[[], None]) -> None:
        from micronode.concurrency.listening import ListenError

        try:
            start()
        except ListenError as error:
            if self._daemon:
                raise
            # twistd has turned sys.stderr into a part of the log by now.
            say(str(error), sys.__stderr__)
            raise SystemExit(Exit.UNAVAILABLE) from None


def makeService(options: TwistdOptions) -> IService:
    """Make the service that twistd or twist runs.

    :raises SystemExit: 78, after a line for each problem of the configuration.
    """
    open_missing()
    from twisted.internet import reactor

    # Before anything of ours asks what time it is.
    polling.steady(reactor)
    try:
        loaded = options.load()
        supervisor = Supervisor.take(loaded.config)
        node = build_node(loaded.config, reactor, reader(reactor, options.load_again), supervisor.sockets)
    except CommandError as error:
        print_error(error)
        raise SystemExit(error.code) from None
    for warning in loaded.warnings:
        log.warn("environment", reason=warning)
    parent: dict[str, Any] = options.parent or {}
    daemon = not parent.get("nodaemon", True)
    observer: LineObserver | HostLog | None = None
    if is_twist(parent):
        observer = _observer_for_twist(parent, loaded.config.log, reactor)
    elif not daemon and not any(map(parent.get, ("logfile", "logger", "syslog"))):
        observer = _observer(sys.stdout, loaded.config.log, reactor)
    else:
        observer = HostLog(loaded.config.log.level)
    if parent.get("pidfile") == _DEFAULT_PIDFILE:
        parent["pidfile"] = ""
    return TwistdService(node, reactor, supervisor, observer=observer, daemon=daemon)


def _observer_for_twist(parent: dict[str, Any], config: Log, reactor: Any) -> LineObserver | HostLog:
    """Put an observer of ours in the place of twist's, unless its user asked for another file or form.

    twist asks nobody: it has options for the log, and makes an observer by what stands in them.
    """
    stream = parent["logFile"]
    if stream is None:
        # The process was started without a standard output; by now it has one that leads nowhere.
        stream = parent["logFile"] = sys.stdout
    form, level = parent["logFormat"], parent["logLevel"]
    by_default = ("text" if stream.isatty() else "json", LogLevel.info)
    if stream is not sys.stdout or (form, level) != by_default:
        if level is LogLevel.info:
            parent["logLevel"] = LogLevel.debug  # nobody asked for it, so that the configured one holds
        return HostLog(config.level, in_words=form != "json")
    observer = _observer(stream, config, reactor)
    parent["fileLogObserverFactory"] = lambda _stream: observer
    parent["logLevel"] = LogLevel.debug  # the observer has the configured one
    return observer


def _observer(stream: IO[str], config: Log, reactor: Any) -> LineObserver:
    from micronode.observability.logging import stream_observer

    def at_end(close: Callable[[], None]) -> None:
        # twistd ends by sending itself the signal that stopped it, and then nothing is called at exit;
        # where it ends before the reactor has run, only that is.
        reactor.addSystemEventTrigger("after", "shutdown", close)
        atexit.register(close)

    return stream_observer(stream, config.level, config.format, reactor, at_end)
