"""Who decodes frames, and how each is fed: the contestants of the decode rows of ``oap_frame_perf``.

Each gets the same payloads, in the framing it speaks, cut into the pieces that a transport's reads give,
and does with a frame what its simplest user would: count it, and know its payload's length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import msgpack
from hyperframe.frame import DataFrame, Frame
from twisted.protocols.basic import Int32StringReceiver
from websockets.protocol import OPEN, SERVER, Protocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import REQ, encode_frame
from micronode.oap.wire.limits import MAX_FRAME_BYTES

#: What Twisted's TCP transport reads at once.
PIECE_BYTES = 65_536
_MASK = b"\x5a\xa5\x3c\xc3"
_HYPERFRAME_HEADER = 9

#: Decodes everything; returns how many payload bytes there were.
Contestant = Callable[[], int]


def pieces_of(data: bytes, size: int = PIECE_BYTES) -> list[bytes]:
    """Cut *data* into pieces of *size* bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def oap(payload: bytes, count: int, *, piece: int = PIECE_BYTES, max_chunk: int = PIECE_BYTES) -> Contestant:
    """Our decoder; with a *max_chunk* under the payload's length the frames are skipped."""
    pieces = pieces_of(encode_frame(REQ, 0, 0x0101, 7, payload) * count, piece)

    def run() -> int:
        decoder, seen = FrameDecoder(max_chunk=max_chunk), 0
        for data in pieces:
            for _flags, _code, _app, _tenant, _corr_id, _cap, received in decoder.feed(data):
                if received is not None:
                    seen += len(received)
        assert not decoder.mid_frame
        return seen

    return run


class _Counter(Int32StringReceiver):
    MAX_LENGTH = MAX_FRAME_BYTES
    seen = 0

    def stringReceived(self, string: bytes) -> None:
        self.seen += len(string)


def int32(payload: bytes, count: int) -> Contestant:
    """Twisted's receiver of strings with a length in front."""
    pieces = pieces_of((struct.pack(">I", len(payload)) + payload) * count)

    def run() -> int:
        receiver = _Counter()
        for data in pieces:
            receiver.dataReceived(data)
        return receiver.seen

    return run


def hyperframe(payload: bytes, count: int) -> Contestant:
    """HTTP/2's frames, with the least buffer around the library's two parsers."""
    pieces = pieces_of(DataFrame(1, data=payload).serialize() * count)

    def run() -> int:
        buffer, seen = bytearray(), 0
        for data in pieces:
            buffer += data
            at, size = 0, len(buffer)
            with memoryview(buffer) as view:
                while at + _HYPERFRAME_HEADER <= size:
                    body = at + _HYPERFRAME_HEADER
                    frame, length = Frame.parse_frame_header(view[at:body])
                    if body + length > size:
                        break
                    frame.parse_body(view[body : body + length])
                    seen += len(frame.data)
                    at = body + length
            del buffer[:at]
        return seen

    return run


def _websocket(payload: bytes) -> bytes:
    """Return a masked binary frame, as a client sends it."""
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x82, 0x80 | size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x82, 0x80 | 127, size)
    key = int.from_bytes(_MASK * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    masked = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
    return head + _MASK + masked


def wsproto(payload: bytes, count: int) -> Contestant:
    """The WebSocket protocol in Python."""
    pieces = pieces_of(_websocket(payload) * count)

    def run() -> int:
        connection, seen = Connection(ConnectionType.SERVER), 0
        for data in pieces:
            connection.receive_data(data)
            for event in connection.events():
                assert isinstance(event, BytesMessage)
                seen += len(event.data)
        return seen

    return run


def websockets(payload: bytes, count: int) -> Contestant:
    """The same without IO from websockets, which unmasks in C."""
    pieces = pieces_of(_websocket(payload) * count)

    def run() -> int:
        server, seen = Protocol(SERVER, state=OPEN), 0
        for data in pieces:
            server.receive_data(data)
            for frame in server.events_received():
                seen += len(frame.data)
        return seen

    return run


def unpacker(payload: bytes, count: int) -> Contestant:
    """msgpack's streaming unpacker, which is C all through."""
    pieces = pieces_of(msgpack.packb(payload) * count)

    def run() -> int:
        unpacker, seen = msgpack.Unpacker(), 0
        for data in pieces:
            unpacker.feed(data)
            for received in unpacker:
                seen += len(received)
        return seen

    return run


def memcpy(payload: bytes, count: int) -> Contestant:
    """No decoder: the payloads' bytes copied, piece by piece, into a buffer that stays in the cache."""
    pieces = pieces_of(payload * count)

    def run() -> int:
        target, seen = memoryview(bytearray(PIECE_BYTES)), 0
        for data in pieces:
            target[: len(data)] = data
            seen += len(data)
        return seen

    return run


#: Name -> what makes a contestant. The first is ours.
CONTESTANTS: dict[str, Callable[[bytes, int], Contestant]] = {
    "micronode": oap,
    "Int32StringReceiver": int32,
    "hyperframe": hyperframe,
    "wsproto": wsproto,
    "websockets": websockets,
    "msgpack Unpacker": unpacker,
    "memcpy": memcpy,
}
