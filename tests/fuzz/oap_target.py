"""What must hold of ``micronode.oap.wire`` for any input: the oracle of the fuzz target, in plain Python.

An input is played twice, in one piece and cut where it says. What came of it (events, errors, and every
byte that was sent in between) must be the same; nothing but the documented errors may be raised; what a
connection holds stays within one legal frame; what is decoded encodes to the bytes that it came from.
:func:`check` raises :class:`~tests.fuzz.oracle.Finding` where one of these does not hold, and lets through
what should never have been raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.frames import encode_frame
from tests.fuzz.oracle import (
    CALLER,
    DECODER,
    DENSE,
    GREETED,
    SIDE_MASK,
    SMALL,
    SMALL_CHUNK,
    check_held,
    expect,
)
from tests.fuzz.shells import CallerShell, NodeShell
from tests.fuzz.talk import GREETING, REPLY, dense, pieces_of, read_input


def check(data: bytes) -> None:
    """Play one input.

    :raises Finding: something that must hold does not; any other exception is a finding too.
    """
    mode, cuts, talk = read_input(data)
    side = mode & SIDE_MASK
    said = dense(talk, caller=side != CALLER) if mode & DENSE else talk
    if side == DECODER:
        run: Callable[[list[bytes]], Any] = lambda pieces: _decode(mode, pieces)  # noqa: E731
    elif side == CALLER:
        said = (REPLY if mode & GREETED else b"") + said
        run = lambda pieces: CallerShell(mode, talk).play(pieces)  # noqa: E731
    else:
        said = (GREETING if mode & GREETED else b"") + said
        run = lambda pieces: NodeShell(mode, talk).play(pieces)  # noqa: E731
    whole = run([said])
    if cuts and said:
        expect(run(pieces_of(said, cuts)) == whole, "another split of the same bytes gives something else")


def _decode(mode: int, pieces: list[bytes]) -> list[Any]:
    """Decode *pieces*; what comes out encodes to what went in."""
    decoder = FrameDecoder(max_frame=8_192, max_chunk=SMALL_CHUNK) if mode & SMALL else FrameDecoder()
    seen: list[Any] = []
    ended: bool | None
    try:
        for piece in pieces:
            seen.extend(decoder.feed(piece))
            check_held(decoder, mid_frame=decoder.mid_frame, max_chunk=decoder.max_chunk, streams=0)
        ended = decoder.mid_frame
    except FrameError as error:
        seen.append((error.code, error.message))
        ended = None
    data, at = b"".join(pieces), 0
    for frame in seen:
        if len(frame) == 2:
            break
        flags, code, app, tenant, corr_id, cap, payload = frame
        if payload is None:
            expect(cap == b"", "a refused frame has a capability")
            at += int.from_bytes(data[at : at + 4], "big")
            continue
        encoded = encode_frame(flags, code, app, corr_id, payload, tenant=tenant, cap=cap)
        expect(data.startswith(encoded, at), "a frame encodes to other bytes than it came from")
        at += len(encoded)
    seen.append(ended)
    return seen
