"""Closing a listener so that nobody who has connected is reset.

A connection is made by the kernel, before anybody accepts it. Those that wait in the backlog when its socket
is closed are reset, and their callers cannot know whether what they had sent by then was read. So they are
taken first. While they are, others come: over TCP the kernel is told to answer no further SYN on this socket,
and a moment later, when handshakes that had begun are over, the backlog is empty for good. A SYN that went
unanswered is sent again a second later, and refused by then: its caller, or its balancer, knows that nothing
was sent. The path of a Unix socket is removed before: who comes then is told that there is none.

(Rejected: ``shutdown()`` of the listening socket, which resets the backlog; a backlog of 0, which is one of
1; taking until none is there and then closing, which loses those of the moment between.)
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.unix import Port as UnixPort

from micronode.concurrency.acceptor import Acceptor
from micronode.concurrency.hangup import Pending

#: Seconds in which handshakes end that had begun: the way to callers nearby and back.
HANDSHAKE_S: Final = 0.05
#: Connections that are taken at last, at most: a backlog is not longer.
_MOST: Final = 4096
#: Linux, include/uapi/asm-generic/socket.h.
_SO_ATTACH_FILTER: Final = 26
#: Classic BPF (linux/filter.h): load the byte of TCP's flags; drop the segment if it is a SYN, else take it.
_NO_SYN: Final = (
    (0x30, 0, 0, 13),  # ldb [13]
    (0x45, 0, 1, 0x02),  # jset #SYN, next, after next
    (0x06, 0, 0, 0),  # ret #0
    (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
)


def stop_accepting(port: IListeningPort, clock: IReactorTime, *, ours: bool, wait_s: float) -> Deferred[None]:
    """Take who waits to be accepted by *port*, and close it.

    :param ours: False: others have the socket, too, and who waits is left to them.
    :param wait_s: seconds that this may take at most.
    :return: fires (None) when it is closed.
    """
    if not ours:
        return _stop(port)
    _remove_path(port)
    refused = wait_s > 0 and _refuse_syn(port)
    _take(port)
    if not refused:
        return _stop(port)

    def close(_: object) -> Deferred[None]:
        _take(port)
        return _stop(port)

    return deferLater(clock, min(wait_s, HANDSHAKE_S)).addCallback(close)


def _stop(port: Any) -> Deferred[None]:
    return cast("Deferred[None]", maybeDeferred(port.stopListening))


def _take(port: Any) -> None:
    """Accept all who wait."""
    take = getattr(port, "take_waiting", None)
    if take is not None:
        take(_MOST)
        return
    waiting = Pending(port)
    for _ in range(_MOST):
        if not waiting.is_there():
            break
        port.doRead()


def _remove_path(port: Any) -> None:
    """Let nobody find a Unix socket any more. A port that is closed removes it a turn later."""
    below: Any = port.listener if isinstance(port, Acceptor) else port
    if not isinstance(below, UnixPort) or below._bindPath.startswith(b"\0"):
        return
    try:
        os.unlink(below._bindPath)
    except OSError:
        return
    # What is there by then is a successor's.
    below._bindPath = b"\0"


def _refuse_syn(port: Any) -> bool:
    """Let the kernel answer no SYN to *port* any more; False: it cannot."""
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_SYN)
    instructions = ctypes.create_string_buffer(program, len(program))
    try:
        with socket.socket(fileno=socket.dup(port.fileno())) as listening:
            if listening.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            wanted = struct.pack("HP", len(_NO_SYN), ctypes.addressof(instructions))
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, wanted)
    except (AttributeError, OSError, TypeError):
        # One in memory, or a kernel that has no such thing.
        return False
    return True
