"""The vectors of subscriptions: messages, the window they fill, and the ways in which they end."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.vector_frames import ACK_REQ, END, EVENT, REQ, START, frame
from tests.support.vector_script import FEED, MEDIA, Session

TOPIC = b'{"op":"subscribe","args":{"topic":"jobs"}}'
SUBSCRIBE = REQ | START | END | ACK_REQ
#: A message of 16 bytes.
MESSAGE = b'{"msg_id":"001"}'


def _session(name: str, about: str, **limits: int) -> Session:
    session = Session(name, about, **{"ack_window": 32, "conn_window": 64, **limits})
    session.hello()
    return session


def _subscribed(name: str, about: str, *, tenant: int = 0, **limits: int) -> Session:
    session = _session(name, about, **limits)
    session.opens(SUBSCRIBE, FEED, 1, TOPIC, tenant=tenant)
    session.head(1, {"status": 200, "content_type": "application/json"})
    return session


def _credit(corr_id: int, up_to: int) -> bytes:
    return frame(EVENT, 100, 0, corr_id, up_to.to_bytes(8, "big"))


def subscriptions() -> Iterator[Session]:
    """What comes between the head of a subscription and its terminal frame."""
    session = _subscribed("subscription", "messages have the app and tenant of the stream", tenant=7)
    session.tells(1, MESSAGE)
    session.tells(1, b"{}")
    session.ends(1)
    yield session

    session = _subscribed("subscription_without_messages", "nothing was there")
    session.ends(1)
    session.ignored(_credit(1, 0), "credit")
    yield session

    session = _subscribed("subscription_window", "a window that fills; CREDIT that makes room for the next")
    session.tells(1, MESSAGE)
    session.tells(1, MESSAGE)
    session.credited(_credit(1, 16), 1, 16)
    session.tells(1, MESSAGE)
    session.opens(REQ | START | END, MEDIA, 2)
    session.head(2, {"status": 200}, ended=True)
    session.credited(_credit(1, 48), 1, 48)
    session.tells(1, MESSAGE)
    session.tells(1, MESSAGE)
    yield session

    session = _subscribed("subscription_max_chunk", "a message as long as a chunk may be", max_chunk=16)
    session.tells(1, MESSAGE)
    session.credited(_credit(1, 16), 1, 16)
    session.tells(1, MESSAGE)
    yield session

    session = _session("subscription_request_late", "messages wait for the end of the request")
    session.opens(REQ | START | ACK_REQ, FEED, 1, TOPIC)
    session.head(1, {"status": 200})
    session.body(REQ | END, 1)
    session.tells(1, MESSAGE)
    session.ends(1)
    yield session

    session = _subscribed("subscription_beside_chunks", "messages and chunks share the window")
    session.sends(1, b"0123456789abcdef")
    session.tells(1, MESSAGE)
    session.credited(_credit(1, 32), 1, 32)
    session.ends(1)
    yield session

    session = _subscribed("subscription_cancelled", "cancelled, with CREDIT that crossed the answer to it")
    session.tells(1, MESSAGE)
    session.cancels(1)
    session.ignored(_credit(1, 16), "credit")
    yield session

    for name, error in (("failed", "not_found"), ("drained", "draining")):
        session = _subscribed(f"subscription_{name}", "an error after messages")
        session.tells(1, MESSAGE)
        session.fails(1, error)
        yield session

    session = _session("subscription_drained_after_goaway", "GOAWAY, then the error, and no new stream")
    session.opens(SUBSCRIBE, FEED, 1, TOPIC)
    session.head(1, {"status": 200})
    session.leaves(5_000, 1)
    session.fails(1, "draining")
    session.refused(frame(SUBSCRIBE, 0, FEED, 2, TOPIC), "draining")
    yield session

    session = _session("subscription_refused", "before its head it fails like any call")
    session.opens(SUBSCRIBE, FEED, 1, TOPIC)
    session.fails(1, "busy")
    yield session

    session = _subscribed("subscription_credit_exceeds", "CREDIT for more than was sent")
    session.tells(1, MESSAGE)
    session.breaks(_credit(1, 17), 1, "credit_violation")
    yield session

    for name, app in (("its_stream", FEED), ("another_app", MEDIA)):
        session = _subscribed(f"subscription_event_of_caller_on_{name}", "messages only come from a node")
        session.breaks(frame(EVENT, 206, app, 1, MESSAGE), 1, "bad_sequence")
        yield session

    session = _session("subscription_event_of_caller", "not even where a request's body may come")
    session.opens(REQ | START | ACK_REQ, MEDIA, 1)
    session.breaks(frame(EVENT, 206, MEDIA, 1, MESSAGE), 1, "bad_sequence")
    session.refused(frame(EVENT, 206, FEED, 2, MESSAGE), "bad_sequence")
    session.refused(frame(EVENT | START, 0, FEED, 3, TOPIC), "bad_sequence")
    yield session
