"""The session vectors about streams: good ones, ids, order, limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.vector_frames import (
    ACK_REQ,
    APP_E2E,
    COMP,
    END,
    EVENT,
    HEAD_BYTES,
    REQ,
    RESP,
    START,
    frame,
)
from tests.support.vector_script import GET, MEDIA, SEARCH, Session

ASK = REQ | START | END


def _session(name: str, about: str, **limits: int) -> Session:
    session = Session(name, about, **limits)
    session.hello()
    return session


def good_streams() -> Iterator[Session]:
    """Requests and answers in every legal shape."""
    session = _session("unary", "a request without a body, an answer without one")
    session.opens(ASK, SEARCH, 1, b'{"op":"query","args":{"q":"x"}}', tenant=0xAA, cap=b"token")
    session.head(1, {"status": 204}, ended=True)
    yield session

    session = _session("answer_with_body", "head, chunks, end; a chunk is never over max_chunk", max_chunk=4)
    session.opens(ASK, MEDIA, 1)
    session.head(1, {"status": 200, "content_type": "text/plain; charset=utf-8", "length": 11})
    session.sends(1, b"hello world")
    session.sends(1, b"")
    session.ends(1)
    yield session

    session = _session("streamed_request", "START, chunks, and the last one with END")
    session.opens(REQ | START, MEDIA, 9, b'{"op":"put","args":{}}')
    session.body(REQ, 9, b"hello ")
    session.body(REQ, 9)
    session.body(REQ | END, 9, b"world")
    session.head(9, {"status": 201})
    session.sends(9, b'{"cid":"b3:..."}')
    session.ends(9)
    yield session

    session = _session("request_ended_empty", "END may come alone")
    session.opens(REQ | START, MEDIA, 1)
    session.body(REQ | END, 1)
    session.head(1, {"status": 200}, ended=True)
    yield session

    session = _session("both_ways_at_once", "an answer may begin and end before the request has")
    session.opens(REQ | START, MEDIA, 1)
    session.body(REQ, 1, b"a")
    session.head(1, {"status": 200})
    session.body(REQ, 1, b"b")
    session.sends(1, b"B")
    session.body(REQ | END, 1, b"c")
    session.ends(1)
    session.opens(REQ | START, MEDIA, 2)
    session.head(2, {"status": 200}, ended=True)
    session.ignored(frame(REQ, 0, MEDIA, 2, b"late"), "closed")
    session.ignored(frame(REQ | END, 0, MEDIA, 2), "closed")
    yield session

    session = _session("interleaved", "streams do not disturb each other")
    session.opens(REQ | START, MEDIA, 1, tenant=1)
    session.opens(REQ | START, SEARCH, 7, tenant=2)
    session.body(REQ, 1, b"one")
    session.body(REQ, 7, b"two")
    session.pings(b"between")
    session.body(REQ | END, 7, b"")
    session.head(7, {"status": 200})
    session.body(REQ | END, 1, b"")
    session.head(1, {"status": 200})
    session.sends(7, b"2")
    session.sends(1, b"1")
    session.ends(1)
    session.ends(7)
    yield session

    session = _session("flags_of_start", "ACK_REQ and APP_E2E count on START alone")
    session.opens(REQ | START | ACK_REQ | APP_E2E, MEDIA, 1)
    session.opens(REQ | START, MEDIA, 2)
    session.body(REQ | ACK_REQ | APP_E2E, 2, b"x")
    session.body(REQ | END, 1)
    yield session

    session = _session("error_before_head", "a failed stream is one RESP|END without START")
    session.opens(ASK, MEDIA, 1)
    session.fails(1, "not_found")
    session.opens(REQ | START, MEDIA, 2)
    session.fails(2, "not_found")
    session.ignored(frame(REQ | END, 0, MEDIA, 2, b"late"), "closed")
    yield session

    session = _session("error_after_head", "an error may come after a head; the body is void")
    session.opens(ASK, MEDIA, 1)
    session.head(1, {"status": 200, "length": 99})
    session.sends(1, b"partial")
    session.fails(1, "not_found")
    yield session


def ids() -> Iterator[Session]:
    """The order of ids, and conflict in all its cases."""
    session = _session("ids_need_not_be_next", "strictly increasing, with any gaps, up to 2**64 - 1")
    for corr_id in (5, 6, 1 << 40, (1 << 64) - 1):
        session.opens(ASK, MEDIA, corr_id)
        session.head(corr_id, {"status": 200}, ended=True)
    session.refused(frame(ASK, 0, MEDIA, 5, GET), "conflict")
    yield session

    session = _session("conflict_on_a_closed_id", "answered, and nothing changes")
    session.opens(ASK, MEDIA, 5)
    session.head(5, {"status": 200}, ended=True)
    session.refused(frame(ASK, 0, MEDIA, 5, GET), "conflict")
    session.refused(frame(REQ | START, 0, SEARCH, 5, GET, tenant=3), "conflict")
    session.opens(ASK, MEDIA, 6)
    yield session

    session = _session("conflict_below", "an id that was skipped is as good as used")
    session.opens(REQ | START, MEDIA, 5)
    session.refused(frame(ASK, 0, MEDIA, 4, GET), "conflict")
    session.ignored(frame(REQ, 0, MEDIA, 4, b"body of what was refused"), "closed")
    session.body(REQ, 5, b"goes on")
    yield session

    session = _session("conflict_on_an_open_id", "its one terminal frame; its later frames are dropped")
    session.opens(REQ | START, MEDIA, 5)
    session.body(REQ, 5, b"x")
    session.breaks(frame(ASK, 0, MEDIA, 5, GET), 5, "conflict")
    session.ignored(frame(REQ | END, 0, MEDIA, 5, b"x"), "closed")
    yield session

    session = _session("conflict_on_an_asked_id", "the request was whole")
    session.opens(ASK, MEDIA, 5)
    session.breaks(frame(ASK, 0, MEDIA, 5, GET), 5, "conflict")
    yield session

    session = _session("conflict_on_an_answering_id", "the head was sent: the body is void")
    session.opens(ASK, MEDIA, 5)
    session.head(5, {"status": 200})
    session.breaks(frame(ASK, 0, SEARCH, 5, GET, tenant=9), 5, "conflict")
    yield session

    session = _session("conflict_on_a_lower_open_id", "open is open, whatever came since")
    session.opens(REQ | START, MEDIA, 5)
    session.opens(REQ | START, MEDIA, 6)
    session.breaks(frame(RESP | START, 0, MEDIA, 5), 5, "conflict")
    session.body(REQ | END, 6, b"x")
    yield session

    session = _session(
        "conflict_while_the_end_is_owed", "cancelled is no longer open: each START has its end"
    )
    session.opens(REQ | START, MEDIA, 5)
    session.cancels(5, hold=True)
    session.refused(frame(ASK, 0, MEDIA, 5, GET), "conflict")
    session.fails(5, "cancelled")
    yield session

    session = _session("refused_start_raises_the_highest", "whatever it was refused for", max_chunk=64)
    for corr_id, said, error in (
        (10, frame(REQ | START, 200, MEDIA, 10, GET), "bad_sequence"),
        (11, frame(REQ | START, 499, MEDIA, 11, GET), "bad_sequence"),
        (12, frame(RESP | START, 200, MEDIA, 12, GET), "bad_sequence"),
        (13, frame(EVENT | START, 0, MEDIA, 13, GET), "bad_sequence"),
        (14, frame(REQ | START | COMP, 0, MEDIA, 14, GET), "bad_compression"),
        (15, frame(REQ | START | COMP | APP_E2E, 0, MEDIA, 15, GET), "bad_compression"),
        (16, frame(ASK, 499, MEDIA, 16, GET), "cancelled"),
    ):
        session.refused(said, error)
        session.refused(frame(ASK, 0, MEDIA, corr_id, GET), "conflict")
        session.ignored(frame(REQ, 0, MEDIA, corr_id, b"dropped"), "closed")
    yield session

    session = _session("head_too_large", "a stream error; skipped, and its id is used")
    session.refused(frame(REQ | START, 0, MEDIA, 3, b" " * (HEAD_BYTES + 1), cap=b"c"), "head_too_large")
    session.ignored(frame(REQ | END, 0, MEDIA, 3, b"its body"), "closed")
    session.refused(frame(ASK, 0, MEDIA, 3, GET), "conflict")
    session.opens(ASK, MEDIA, 4)
    yield session


def out_of_order() -> Iterator[Session]:
    """bad_sequence, in every case."""
    session = _session(
        "no_such_stream", "frames above the highest id open nothing and raise nothing", max_chunk=8
    )
    session.refused(frame(REQ, 0, MEDIA, 1, b"x"), "bad_sequence")
    session.refused(frame(REQ | END, 0, MEDIA, 1), "bad_sequence")
    session.refused(frame(REQ | END, 499, MEDIA, 1), "bad_sequence")
    session.refused(frame(EVENT, 0, MEDIA, 1), "bad_sequence")
    session.refused(frame(RESP, 200, MEDIA, 1), "bad_sequence")
    session.refused(frame(REQ, 0, MEDIA, 1, b"too large", tenant=4), "bad_sequence")
    session.refused(frame(REQ | COMP, 0, MEDIA, 1), "bad_sequence")
    session.opens(ASK, MEDIA, 1)
    session.refused(frame(REQ, 0, MEDIA, 2, b"x"), "bad_sequence")
    yield session

    session = _session("corr_id_0", "no stream has it")
    session.refused(frame(ASK, 0, MEDIA, 0, GET), "bad_sequence")
    session.refused(frame(REQ, 0, MEDIA, 0, b"x"), "bad_sequence")
    session.refused(frame(REQ | END, 499, MEDIA, 0), "bad_sequence")
    session.opens(ASK, MEDIA, 1)
    yield session

    open_faults: tuple[tuple[str, dict[str, Any]], ...] = (
        ("app_changes", {"flags": REQ, "app": SEARCH}),
        ("tenant_changes", {"flags": REQ, "tenant": 2}),
        ("app_changes_on_cancel", {"flags": REQ | END, "code": 499, "app": SEARCH}),
        ("code_200", {"flags": REQ, "code": 200}),
        ("code_499_without_end", {"flags": REQ, "code": 499}),
        ("code_1_with_end", {"flags": REQ | END, "code": 1}),
        ("event", {"flags": EVENT}),
        ("event_499_end", {"flags": EVENT | END, "code": 499}),
        ("resp", {"flags": RESP, "code": 206}),
        ("resp_end", {"flags": RESP | END, "code": 200}),
        ("sequence_before_size", {"flags": RESP, "payload": b"too large"}),
    )
    for name, fault in open_faults:
        session = _session(f"bad_sequence_{name}", "a stream error on an open request", max_chunk=8)
        session.opens(REQ | START, MEDIA, 1, GET, tenant=1)
        said = {"code": 0, "app": MEDIA, "corr_id": 1, "payload": b"x", "tenant": 1} | fault
        session.breaks(frame(**said), 1, "bad_sequence")
        session.ignored(frame(REQ | END, 0, MEDIA, 1, tenant=1), "closed")
        yield session

    for name, flags, payload in (
        ("body", REQ, b"x"),
        ("empty_body", REQ, b""),
        ("end", REQ | END, b""),
        ("too_large", REQ, b"too large"),
        ("comp", REQ | COMP, b"x"),
    ):
        for head in (False, True):
            when = "answering" if head else "asked"
            session = _session(
                f"bad_sequence_{name}_after_end_{when}", "only a cancel may follow END", max_chunk=8
            )
            session.opens(REQ | START, MEDIA, 1)
            session.body(REQ | END, 1, b"x")
            if head:
                session.head(1, {"status": 200})
            session.breaks(frame(flags, 0, MEDIA, 1, payload), 1, "bad_sequence")
            yield session


def limits() -> Iterator[Session]:
    """Chunks, slots, cancels, leaving."""
    session = _session("chunk_at_its_limit", "the last size that is taken", max_chunk=8)
    session.opens(REQ | START, MEDIA, 1)
    session.body(REQ, 1, b"12345678")
    session.breaks(frame(REQ, 0, MEDIA, 1, b"123456789"), 1, "chunk_too_large")
    session.ignored(frame(REQ, 0, MEDIA, 1, b"123456789"), "closed")
    session.opens(ASK, MEDIA, 2)
    session.head(2, {"status": 200}, ended=True)
    yield session

    session = _session("compressed_chunk", "what is no zstd frame is refused", max_chunk=8)
    session.opens(REQ | START, MEDIA, 1)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 1, b"x"), 1, "bad_compression")
    session.opens(REQ | START | APP_E2E, MEDIA, 2)
    session.breaks(frame(REQ | COMP | END, 0, MEDIA, 2, b"x"), 2, "bad_compression")
    session.opens(REQ | START, MEDIA, 3)
    session.breaks(frame(REQ | COMP, 0, MEDIA, 3, b"size first"), 3, "chunk_too_large")
    yield session

    session = _session(
        "busy", "one over max_inflight; a slot is free with the terminal frame", max_inflight=2
    )
    session.opens(REQ | START, MEDIA, 1)
    session.opens(REQ | START, MEDIA, 2)
    session.refused(frame(ASK, 0, MEDIA, 3, GET), "busy")
    session.ignored(frame(REQ, 0, MEDIA, 3, b"x"), "closed")
    session.cancels(1, hold=True)
    session.refused(frame(ASK, 0, MEDIA, 4, GET), "busy")
    session.fails(1, "cancelled")
    session.refused(frame(ASK, 0, MEDIA, 3, GET), "conflict")
    session.opens(ASK, MEDIA, 5)
    yield session

    session = _session("cancel", "in every state of a stream: one empty terminal frame")
    session.opens(REQ | START, MEDIA, 1, tenant=5)
    session.cancels(1)
    session.ignored(frame(REQ | END, 499, MEDIA, 1, tenant=5), "closed")
    session.opens(ASK, MEDIA, 2)
    session.cancels(2, payload=b"ignored")
    session.opens(ASK, MEDIA, 3)
    session.head(3, {"status": 200})
    session.sends(3, b"some")
    session.cancels(3)
    session.opens(REQ | START, MEDIA, 4)
    session.head(4, {"status": 200})
    session.cancels(4, flags=REQ | END | COMP)
    session.refused(frame(ASK, 0, MEDIA, 4, GET), "conflict")
    yield session

    session = _session("cancel_while_the_end_is_owed", "what comes meanwhile is dropped")
    session.opens(REQ | START, MEDIA, 1)
    session.cancels(1, hold=True)
    session.ignored(frame(REQ | END, 499, MEDIA, 1), "closed")
    session.ignored(frame(REQ, 0, SEARCH, 1, b"x"), "closed")
    session.pings(b"")
    session.fails(1, "cancelled")
    session.ignored(frame(REQ | END, 499, MEDIA, 1), "closed")
    yield session

    session = _session("goaway", "nothing new is opened, the open ones finish")
    session.opens(REQ | START, MEDIA, 4)
    session.leaves(2_000, 4)
    session.refused(frame(ASK, 0, MEDIA, 5, GET), "draining")
    session.refused(frame(ASK, 0, MEDIA, 5, GET), "conflict")
    session.body(REQ | END, 4, b"x")
    session.head(4, {"status": 200}, ended=True)
    session.pings(b"still here")
    yield session

    session = _session("cut_off", "the caller is gone in the middle of a frame", max_chunk=64)
    session.opens(REQ | START, MEDIA, 1)
    session.raw(frame(REQ, 0, MEDIA, 1, b"never whole")[:-1])
    yield session
