"""Telling the service manager how the node is: systemd's notification protocol (``sd_notify(3)``).

Lines of text in datagrams to the socket that ``NOTIFY_SOCKET`` names. Nothing of the node waits for it,
and a manager that does not listen is no reason to fail. A matter of the whole process: an embedded node
tells nobody.

Why the watchdog is fed by a timer of the reactor and by nothing else: what it has to find out is whether
the reactor still turns. A thread would go on telling so while a blocked reactor serves nobody.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from micronode.bus import ReloadEnded, ReloadStarted, StateChanged

if TYPE_CHECKING:
    from micronode.bus import Event, Subscription
    from micronode.node import NodeService

_log = Logger()

#: sun_path is 108 bytes on Linux; an abstract name needs no closing NUL.
_MAX_PATH: Final = 107
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
#: Seconds between two looks at what the status line says.
_LOOK_S: Final = 1.0
#: Pings in the time in which the manager wants one: one that comes late, or is lost, is not missed.
_PINGS: Final = 3
#: Seconds between two pings at least: more of them would be all that the reactor does.
_MIN_PING_S: Final = 0.01
_PING: Final = b"WATCHDOG=1"
#: What the manager has no room for now is sent again: what it must know (READY, STOPPING) alone.
_AGAIN_S: Final = 0.1
_MAX_UNSENT: Final = 16
_FULL: Final = (errno.EAGAIN, errno.ENOBUFS, errno.EINTR)
#: Seconds that a drain may take longer than its two times: cancelled calls end, sockets close, owners go.
_STOP_MARGIN_S: Final = 10.0


class Notifier:
    """Tells one service manager about one process; made by :func:`take_notifier`.

    :ivar active: whether there is a manager that wants to be told.
    """

    def __init__(
        self,
        address: str = "",
        *,
        watchdog_s: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        make_socket: Callable[[], Any] | None = None,
    ) -> None:
        """:param address: the manager's socket as ``NOTIFY_SOCKET`` has it; nothing is sent where empty.
        :param watchdog_s: seconds within which it wants a sign of life; 0 for none.
        :param monotonic: the machine's monotonic clock, which the manager compares reloads with.
        """
        self.active = bool(address)
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._monotonic = monotonic
        self._pid = os.getpid()
        self._make_socket = make_socket or _make_socket
        self._socket: Any = None
        self._unsent: deque[bytes] = deque(maxlen=_MAX_UNSENT)
        self._failed = False
        self._said = ""
        self._reloading = False
        self._node: NodeService | None = None
        self._clock: Any = None

    def begin(self, reactor: Any) -> None:
        """Begin with signs of life, once the reactor runs; they go on until the process ends."""
        if not self.active:
            return
        self._clock = reactor
        self._repeat(self._look, _LOOK_S)
        if self._watchdog_s:
            self._repeat(lambda: self._send(_PING), max(self._watchdog_s / _PINGS, _MIN_PING_S))

    def _repeat(self, act: Callable[[], object], interval_s: float) -> None:
        call = LoopingCall(act)
        call.clock = self._clock
        call.start(interval_s, now=False).addErrback(_broken)

    def follow(self, node: NodeService) -> None:
        """Tell about *node* from now on; called before it is started, after :meth:`begin`."""
        if self.active:
            self._node = node
            Deferred.fromCoroutine(self._listen(node.bus.subscribe())).addErrback(_broken)

    async def _listen(self, events: Subscription) -> None:
        async for event in events:
            self._heard(event)

    def _heard(self, event: Event) -> None:
        """Pass on what the manager must know, and keep the status line current."""
        node = self._node
        assert node is not None
        if isinstance(event, (ReloadStarted, ReloadEnded)):
            self._reloading = isinstance(event, ReloadStarted)
        if isinstance(event, ReloadStarted):
            self.tell("RELOADING=1", f"MONOTONIC_USEC={_usec(self._monotonic())}", self._status())
        elif isinstance(event, ReloadEnded) and node.state.value == "running":
            self.tell("READY=1", self._status())
        elif isinstance(event, StateChanged) and event.state == "running":
            # The process that was started may have forked since (twistd does).
            main = (f"MAINPID={os.getpid()}",) if os.getpid() != self._pid else ()
            self.tell("READY=1", *main, self._status())
        elif isinstance(event, StateChanged) and event.state == "draining":
            drain = node.config.drain
            # Never less time than the unit gives, more where the configuration asks for more.
            longest = _usec(drain.grace + drain.deadline + _STOP_MARGIN_S)
            self.tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={longest}", self._status())
        else:
            self._look()

    def _status(self) -> str:
        """Return the status line for people, and remember that it was said."""
        node = self._node
        assert node is not None
        state = node.state.value
        doing = "reloading" if self._reloading and state == "running" else state
        parts = [doing, f"calls in flight: {node.calls}"]
        if state == "running" and (degraded := node.probes.readyz()[1]["degraded"]):
            parts.append(f"degraded: {', '.join(degraded)}")
        self._said = f"STATUS={'; '.join(parts)}"
        return self._said

    def _look(self) -> None:
        if self._node is None or self._unsent:
            return  # what waits has an older line, and would be heard after this one
        before = self._said
        status = self._status()
        if status != before and not self._send(status.encode()):
            self._said = before

    def tell(self, *lines: str) -> None:
        """Send what the manager must know, from a turn of the reactor; again, until it has room for it.

        Below twistd the node starts before the reactor runs, and until then a signal ends the process:
        whoever is told that it is ready may send one.
        """
        if not self.active:
            return
        self._unsent.append("\n".join(lines).encode())
        if len(self._unsent) == 1:
            self._clock.callLater(0, self._flush)

    def _flush(self) -> None:
        while self._unsent:
            if not self._send(self._unsent[0]):
                self._clock.callLater(_AGAIN_S, self._flush)
                return
            self._unsent.popleft()

    def _send(self, datagram: bytes) -> bool:
        """Send one datagram; never waits.

        :return: whether that is settled: False where it may go later.
        """
        try:
            if self._socket is None:
                self._socket = self._make_socket()
            self._socket.sendto(datagram, self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                _log.warn("notify_failed", reason=error.strerror or str(error))
            return error.errno not in _FULL
        return True


def take_notifier(environ: MutableMapping[str, str]) -> Notifier:
    """Return the notifier of this process; one that tells nobody where no manager wants to be told.

    The variables are removed from *environ*, so that no child tells the manager anything.
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not address:
        return Notifier()
    if address[0] not in "/@" or len(address) < 2 or len(os.fsencode(address)) > _MAX_PATH:
        _log.warn("notify_unusable", reason="NOTIFY_SOCKET names no Unix socket")
        return Notifier()
    wanted = _NUMBER.fullmatch(usec) and (not pid or pid == str(os.getpid()))
    return Notifier(address, watchdog_s=int(usec) / 1e6 if wanted else 0.0)


def _make_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _usec(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _broken(failure: Any) -> None:
    _log.failure("notify_broken", failure=failure)
