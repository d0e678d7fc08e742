"""How a connection is closed so that the caller learns why; both ingresses end theirs with it.

Bytes that nobody read when a socket is closed make the kernel send a reset, and a reset may overtake
the last words that were just written (an error frame, an HTTP refusal; RFC 9112 section 9.6). So the
writing side is shut down first, and input is thrown away for a moment (``specs/oap-1.md`` section 1).
TLS has no half-close, and the one of the socket beneath would cut off what is not encrypted yet: its
own shutdown has to do.

Nor is a socket closed while its kernel has still much to pass on: that goes on without the node, for as
long as the caller likes to read, and counts as nobody's connection, so that callers who ask for much and
read little could make the kernel hold any number of answers. The node waits for them as for all that read
slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import INegotiated, IReactorTime

from micronode.concurrency.hangup import was_reset
from micronode.concurrency.stall import StallWatch, unacknowledged
from micronode.concurrency.timer import LazyTimer
from micronode.oap.wire.limits import LINGER_BYTES, LINGER_S

#: Seconds between two looks at what is left.
_LOOK_S: Final = 0.1


class Farewell:
    """Closes *transport* once everything was written to it; its producer is unregistered by then.

    :param stall_s: a caller that takes no byte of what is still unsent for so many seconds is cut.
    :param min_rate: so is one that takes fewer bytes a second; 0: any number will do.
    :param cut: called without arguments to abort the connection of such a caller.
    """

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        *,
        stall_s: float,
        min_rate: int = 0,
        cut: Callable[[], None] | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._stall_s = stall_s
        self._min_rate = min_rate
        self._is_tls = INegotiated.providedBy(transport)
        self._linger = LazyTimer(clock, self._lingered)
        self._watch = StallWatch(clock, transport, cut or transport.abortConnection)
        self._left = LazyTimer(clock, self._look)
        self._discarded = 0
        self._much = False
        self._shut = False
        self._losing = False
        self._over = False

    def begin(self, discarded: int, *, linger: bool, much: bool = False) -> None:
        """Shut the writing side down, and close: in a moment, or as soon as everything is written.

        :param discarded: bytes of input that were thrown away already.
        :param linger: wait for the caller to read and to close. Without need where its input has ended,
            or where nothing of it can be unread.
        :param much: more may be unwritten than a kernel may keep unwatched.
        """
        self._discarded = discarded
        self._much = much
        if self._is_tls or not linger:
            self._lose()
        else:
            self._transport.loseWriteConnection()
        if (self._is_tls or linger) and not self._over:
            self._linger.expect(self._clock.seconds() + LINGER_S)

    def received(self, size: int) -> None:
        """Throw *size* bytes of input away."""
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._lingered()

    def shut(self) -> None:
        """All is with the kernel, and our side of the connection is shut down."""
        self._shut = True
        if self._losing and not self._over:
            self._look()

    def leave(self) -> bool:
        """Close at once if nothing is missing but that the caller takes what the kernel has; False: it is.

        For the end of the node, which the kernel outlives.
        """
        waits = self._losing and self._shut and not self._over
        if waits:
            self._transport.loseConnection()
        return waits

    def input_ended(self) -> None:
        """The caller has closed too."""
        self._lose()

    def over(self) -> None:
        """The transport is gone."""
        self._over = self._losing = True
        self._linger.close()
        self._left.close()
        self._watch.close()

    def _lingered(self) -> None:
        if not self._losing:
            self._lose()
        elif self._is_tls and not unacknowledged(self._transport):
            # It waits for the other side's shutdown, which need not come.
            self._transport.abortConnection()

    def _lose(self) -> None:
        """Close when everything is written; where much of it may be left then, when that was taken."""
        if self._losing:
            return
        self._losing = True
        self._linger.close()
        # Before loseConnection(), which may end the connection at once.
        self._watch.start(self._stall_s, self._min_rate)
        if self._is_tls or not (self._much or unacknowledged(self._transport)):
            self._transport.loseConnection()
        elif self._shut:
            self._look()
        else:
            self._transport.loseWriteConnection()

    def _look(self) -> None:
        if was_reset(self._transport):
            # Behind the end of input nothing else tells: there is nothing to read, and nothing to write.
            self._transport.abortConnection()
        elif unacknowledged(self._transport):
            self._left.expect(self._clock.seconds() + _LOOK_S)
        else:
            self._transport.loseConnection()
