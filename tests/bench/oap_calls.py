"""A caller over OAP/1 that costs little: frames made once, answers counted by their headers."""

from __future__ import annotations

import selectors
import socket
import struct
import time
from typing import Final

from micronode.oap.wire.frames import END, REQ, START, encode_frame
from micronode.oap.wire.heads import dump_object
from tests.bench.load import connect

#: Up to the code: length, version, flags, code.
_BEGIN: Final = struct.Struct(">IHHH")
_CORR_ID: Final = struct.Struct(">Q")
_CORR_ID_AT: Final = 30
_READ: Final = 1 << 18
_PATIENCE_S: Final = 30.0


class Calls:
    """Makes the same call on many connections, so many at a time on each, as fast as they are answered.

    :param args: of the call.
    """

    def __init__(
        self, port: int, profile: int, op: str, args: dict[str, str], *, connections: int, inflight: int
    ) -> None:
        whole = encode_frame(REQ | START | END, 0, profile, 0, dump_object({"op": op, "args": args}))
        self._before, self._after = whole[:_CORR_ID_AT], whole[_CORR_ID_AT + 8 :]
        self._inflight = inflight
        self._next = 1
        self._selector = selectors.DefaultSelector()
        self._peers = connect(port, connections)
        for peer in self._peers:
            peer.setblocking(False)
            # What came of a frame that is not whole.
            self._selector.register(peer, selectors.EVENT_READ, bytearray())
            self._send(peer, inflight)

    def _send(self, peer: socket.socket, count: int) -> None:
        first, self._next = self._next, self._next + count
        before, after, pack = self._before, self._after, _CORR_ID.pack
        peer.send(b"".join([before + pack(corr_id) + after for corr_id in range(first, first + count)]))

    def run(self, seconds: float) -> tuple[int, float]:
        """Go on for *seconds*; return how many calls were answered, and the seconds it took.

        :raises AssertionError: one was not answered well.
        """
        answered, started = 0, time.perf_counter()
        now, until = started, started + seconds
        while now < until:
            ready = self._selector.select(_PATIENCE_S)
            assert ready, "nothing is answered"
            for key, _ in ready:
                peer, begun = key.fileobj, key.data
                assert isinstance(peer, socket.socket)
                begun += peer.recv(_READ)
                count = _take(begun)
                answered += count
                if count:
                    self._send(peer, count)
            now = time.perf_counter()
        return answered, now - started

    def close(self) -> None:
        """Close every connection."""
        for peer in self._peers:
            peer.close()
        self._selector.close()


def _take(begun: bytearray) -> int:
    """Take the whole frames off the front of *begun*; return how many answers ended with them."""
    ended = at = 0
    while len(begun) - at >= _BEGIN.size:
        length, _, flags, code = _BEGIN.unpack_from(begun, at)
        if len(begun) - at < length:
            break
        assert code < 300, (code, bytes(begun[at : at + length]))
        ended += bool(flags & END)
        at += length
    del begun[:at]
    return ended
