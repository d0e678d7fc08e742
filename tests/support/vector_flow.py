"""The flow vectors: windows that fill, the CREDIT that opens them, and what breaks them."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.vector_frames import ACK_REQ, END, EVENT, REQ, START, frame
from tests.support.vector_script import MEDIA, Session

PUT = REQ | START | ACK_REQ
GET = PUT | END


def _session(name: str, about: str, **limits: int) -> Session:
    session = Session(name, about, **{"ack_window": 8, "conn_window": 16, **limits})
    session.hello()
    return session


def _credit(corr_id: int, up_to: int) -> bytes:
    return frame(EVENT, 100, 0, corr_id, up_to.to_bytes(8, "big"))


def flow() -> Iterator[Session]:
    """Windows in both directions."""
    about = "CREDIT when half of a window is used, the stream's or the connection's"
    session = _session("flow_upload", about)
    session.opens(PUT, MEDIA, 1)
    session.body(REQ, 1, b"123")
    session.takes(1, 3)
    session.body(REQ, 1, b"45")
    session.credit(1, 3)
    session.body(REQ, 1, b"678")
    session.credit(0, 3)
    session.takes(1, 1, (1, 4))
    session.takes(1, 4, (1, 8))
    session.body(REQ, 1, b"9abc")
    session.credit(0, 8)
    session.takes(1, 4, (1, 12))
    session.body(REQ | END, 1)
    session.head(1, {"status": 201}, ended=True)
    yield session

    session = _session("flow_upload_over_the_window", "one byte more; what was held is credited at once")
    session.opens(PUT, MEDIA, 1)
    session.body(REQ, 1, b"12345678")
    session.breaks(frame(REQ, 0, MEDIA, 1, b"9"), 1, "credit_violation")
    session.credit(0, 9)
    session.ignored(frame(REQ, 0, MEDIA, 1, b"late"), "closed")
    session.credit(0, 13)
    session.ignored(frame(REQ | END, 0, MEDIA, 1, b"."), "closed")
    session.credit(0, 14)
    session.ignored(frame(REQ, 0, MEDIA, 1, b"after its end"), "closed")
    yield session

    session = _session("flow_over_the_connection", "three streams within their windows, too much in all")
    for corr_id in (1, 2, 3):
        session.opens(PUT, MEDIA, corr_id)
    for corr_id in (1, 2):
        session.body(REQ, corr_id, b"12345678")
    session.dies(frame(REQ, 0, MEDIA, 3, b"x"), "credit_violation")
    yield session

    session = _session("flow_cancelled", "a cancelled upload gives its bytes back to the connection")
    session.opens(PUT, MEDIA, 1)
    session.body(REQ, 1, b"12345")
    session.cancels(1)
    session.credit(0, 5)
    session.opens(PUT, MEDIA, 2)
    session.body(REQ, 2, b"12345678")
    yield session

    session = _session("flow_refused", "so does one that was refused", max_inflight=1)
    session.opens(PUT, MEDIA, 1)
    session.refused(frame(PUT, 0, MEDIA, 2, b"{}"), "busy")
    session.ignored(frame(REQ, 0, MEDIA, 2, b"abcd"), "closed")
    session.credit(0, 4)
    session.ignored(frame(REQ | END, 0, MEDIA, 2), "closed")
    yield session

    session = _session("flow_download", "a window that fills while CREDIT waits behind data")
    session.opens(GET, MEDIA, 1)
    session.head(1, {"status": 200})
    session.sends(1, b"12345678")
    session.opens(PUT, MEDIA, 2)
    session.body(REQ, 2, b"abcdefgh")
    session.credited(_credit(1, 4), 1, 4)
    session.sends(1, b"9abc")
    session.credited(_credit(1, 12), 1, 12)
    session.credited(_credit(1, 12), 1, 12)
    session.ends(1)
    session.ignored(_credit(1, 12), "credit")
    yield session

    for name, first, second in (("falls", 4, 3), ("exceeds", 4, 9)):
        session = _session(f"flow_credit_{name}", "an up_to that falls, or exceeds what was sent")
        session.opens(GET, MEDIA, 1)
        session.head(1, {"status": 200})
        session.sends(1, b"12345678")
        session.credited(_credit(1, first), 1, first)
        session.breaks(_credit(1, second), 1, "credit_violation")
        yield session

    session = _session("flow_credit_unwindowed", "CREDIT for a stream without windows, and for a closed one")
    session.opens(REQ | START, MEDIA, 1)
    session.ignored(_credit(1, 0), "credit")
    session.cancels(1)
    session.ignored(_credit(1, 99), "credit")
    yield session

    for name, corr_id in (("connection", 0), ("unopened", 9)):
        session = _session(f"flow_credit_{name}", "answers have no window in common; a stream there is not")
        session.dies(_credit(corr_id, 0), "credit_violation")
        yield session
