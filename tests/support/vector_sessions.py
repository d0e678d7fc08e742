"""The session vectors: HELLO and the frames on app 0. Streams are in ``vector_streams``."""

from __future__ import annotations

from collections.abc import Iterator

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
    bad_frames,
    compact,
    frame,
)
from tests.support.vector_script import GET, MEDIA, Session

_NULL_UA = b'{"ua":null}'


def greetings() -> Iterator[Session]:
    """HELLO as it may be."""
    session = Session("hello_null_ua_49_bytes", "the smallest usual HELLO")
    session.hello()
    yield session

    session = Session("hello_empty_object", "every member may be missing")
    session.hello(b"{}", corr_id=0)
    yield session

    everything = {
        "ua": "sdk/0.1",
        "max_frame": 65_536,
        "accept": ["zstd"],
        "versions": [1, 2],
        "ext": ["x"],
        "prove": "0f" * 32,
        "unknown": {"is": ["ignored"]},
    }
    session = Session("hello_everything", "every member, and one that nobody knows")
    session.hello(compact(everything), wish=65_536, corr_id=(1 << 64) - 1)
    yield session

    nulls = dict.fromkeys(("ua", "max_frame", "accept", "versions", "ext", "prove"))
    for name, payload in (
        ("hello_prove_16_bytes", compact({"ua": None, "prove": "aB" * 16})),
        ("hello_nulls", compact(nulls)),
        ("hello_white_space", b" \r\n\t{ } \n"),
        ("hello_at_its_limit", _NULL_UA + b" " * (HEAD_BYTES - len(_NULL_UA))),
    ):
        session = Session(name, "a HELLO that is taken")
        session.hello(payload)
        yield session

    for name, flags in (
        ("hello_start", REQ | START),
        ("hello_end", REQ | END),
        ("hello_start_end", REQ | START | END),
        ("hello_ack_req_e2e", REQ | ACK_REQ | APP_E2E),
    ):
        session = Session(name, "flags of HELLO beside REQ and COMP mean nothing")
        session.hello(flags=flags)
        yield session

    session = Session("hello_cap", "a capability of HELLO is ignored, and so is its tenant")
    session.hello(flags=REQ | START, cap=b"token", tenant=7)
    yield session

    session = Session("hello_wish_above", "the smaller of both wishes counts", max_frame=8_192)
    session.hello(b'{"max_frame":1048576}', wish=1 << 20)
    yield session

    session = Session("hello_wish_least", "the smallest wish, and a frame over it in the same read")
    session.hello(b'{"max_frame":4096}', wish=4_096)
    session.opens(REQ | START, MEDIA, 1, GET + b" " * (4_058 - len(GET)))
    session.dies(frame(REQ, 0, MEDIA, 1, b"x" * 4_059), "frame_too_large")
    yield session


def refused_greetings() -> Iterator[Session]:
    """First frames that are no HELLO, or one that is not taken."""
    null = _NULL_UA
    first_frames = (
        ("ping", frame(EVENT, 102)),
        ("resp", frame(RESP, 200, 0, 1, null)),
        ("stream", frame(REQ | START, 0, MEDIA, 1, GET)),
        ("stream_head_too_large", frame(REQ | START, 0, MEDIA, 1, b" " * (HEAD_BYTES + 1))),
        ("code", frame(REQ, 200, 0, 1, null)),
        ("cancel", frame(REQ | END, 499, 0, 1)),
        ("too_long", frame(REQ, 0, 0, 1, null + b" " * HEAD_BYTES)),
        ("too_long_start", frame(REQ | START, 0, 0, 1, null + b" " * HEAD_BYTES)),
    )
    for name, said in first_frames:
        session = Session(f"bad_hello_{name}", "the first frame is no HELLO")
        session.dies(said, "bad_hello")
        yield session

    members = (
        ("ua_number", '"ua":1'),
        ("ua_array", '"ua":[]'),
        ("max_frame_4095", '"max_frame":4095'),
        ("max_frame_negative", '"max_frame":-1'),
        ("max_frame_float", '"max_frame":65536.0'),
        ("max_frame_string", '"max_frame":"65536"'),
        ("max_frame_true", '"max_frame":true'),
        ("accept_string", '"accept":"zstd"'),
        ("accept_numbers", '"accept":[1]'),
        ("ext_object", '"ext":{}'),
        ("ext_null_item", '"ext":[null]'),
        ("versions_number", '"versions":1'),
        ("versions_strings", '"versions":["1"]'),
        ("versions_true", '"versions":[true]'),
        ("prove_number", '"prove":1'),
        ("prove_15_bytes", '"prove":"' + "00" * 15 + '"'),
        ("prove_17_bytes", '"prove":"' + "00" * 17 + '"'),
        ("prove_33_bytes", '"prove":"' + "00" * 33 + '"'),
        ("prove_no_hex", '"prove":"' + "g0" * 32 + '"'),
        ("prove_line_end", '"prove":"' + "00" * 32 + '\\n"'),
    )
    for name, member in members:
        session = Session(f"bad_hello_{name}", "a member of HELLO is of a wrong type or out of range")
        session.dies(frame(REQ, 0, 0, 1, b"{" + member.encode() + b"}"), "bad_hello")
        yield session

    for name, versions in (("2", b"[2]"), ("none", b"[]")):
        session = Session(f"hello_versions_{name}", "no version in common; the answer lists them")
        session.dies(frame(REQ, 0, 0, 1, b'{"versions":' + versions + b"}"), "bad_version")
        yield session

    for name, payload in (
        ("empty", b""),
        ("array", b"[]"),
        ("null", b"null"),
        ("cut", b'{"ua":'),
        ("trailing", b'{"ua":null}x'),
        ("duplicate_key", b'{"ua":null,"ua":null}'),
        ("duplicate_key_escaped", b'{"ua":null,"\\u0075a":null}'),
        ("not_utf8", b'{"ua":"\xff"}'),
        ("byte_order_mark", b"\xef\xbb\xbf" + null),
        ("half_surrogate", b'{"ua":"\\ud800"}'),
        ("nan", b'{"ua":NaN}'),
        ("beyond_double", b'{"x":1e999}'),
        ("beyond_2_53", b'{"x":9007199254740993}'),
        ("too_deep", b'{"x":' + b"[" * 16 + b"]" * 16 + b"}"),
        ("bottomless", b"[" * HEAD_BYTES),
        ("control_character", b'{"ua":"\n"}'),
    ):
        session = Session(f"hello_bad_json_{name}", "HELLO is no strict JSON object")
        session.dies(frame(REQ, 0, 0, 1, payload), "bad_json")
        yield session

    session = Session("hello_comp", "COMP on app 0")
    session.dies(frame(REQ | COMP, 0, 0, 1, null), "bad_compression")
    yield session


def control() -> Iterator[Session]:
    """Frames on app 0 after HELLO."""
    session = Session("ping", "echoed with its corr_id and payload, whatever its other flags")
    session.hello()
    session.pings(b"")
    session.pings(bytes(range(64)), corr_id=77)
    yield session

    session = Session("control_ignored", "what a caller may say and a node does not act on", max_chunk=64)
    session.hello()
    session.ignored(frame(EVENT, 503, 0, 0, b"{}"), "goaway")
    for code in (200, 250, 299):
        session.ignored(frame(EVENT | END, code, 0, 9, b"x"), "event")
    session.pings(b"still here")
    yield session

    wrong = (
        ("second_hello", frame(REQ, 0, 0, 1, _NULL_UA), "bad_sequence"),
        ("second_hello_start", frame(REQ | START, 0, 0, 2, _NULL_UA), "bad_sequence"),
        ("cancel_on_app_0", frame(REQ | END, 499, 0, 1), "bad_sequence"),
        ("resp_on_app_0", frame(RESP, 200, 0, 1), "bad_sequence"),
        ("event_start_on_app_0", frame(EVENT | START, 102), "bad_sequence"),
        ("control_code_0", frame(EVENT, 0), "bad_sequence"),
        ("control_code_101", frame(EVENT, 101), "bad_sequence"),
        ("control_code_199", frame(EVENT, 199), "bad_sequence"),
        ("control_code_300", frame(EVENT, 300), "bad_sequence"),
        ("ping_65", frame(EVENT, 102, 0, 0, bytes(65)), "bad_request"),
        ("credit_7", frame(EVENT, 100, 0, 1, bytes(7)), "bad_request"),
        ("credit_9", frame(EVENT, 100, 0, 1, bytes(9)), "bad_request"),
        ("credit_0", frame(EVENT, 100, 0, 1), "bad_request"),
        ("comp_on_app_0", frame(EVENT | COMP, 102), "bad_compression"),
        ("control_chunk_too_large", frame(EVENT, 102, 0, 0, bytes(257)), "chunk_too_large"),
    )
    for name, said, error in wrong:
        session = Session(name, "on app 0 every error is the connection's", max_chunk=256)
        session.hello()
        session.opens(REQ | START, MEDIA, 1)
        session.dies(said, error)
        session.raw(frame(EVENT, 102))
        yield session


def broken_connections() -> Iterator[Session]:
    """Connection errors after good frames: what came before them counts, what comes after does not."""
    seen: set[str] = set()
    for bad in bad_frames():
        error = bad["micronode_error"]
        if error in seen or len(bad["hex"]) > 1_000:
            continue
        seen.add(error)
        session = Session(f"after_good_frames_{error}", "the good frames are served, then it ends")
        session.hello()
        session.opens(REQ | START | END, MEDIA, 1)
        session.head(1, {"status": 200}, ended=True)
        session.opens(REQ | START, MEDIA, 2)
        session.body(REQ, 2, b"abc")
        session.dies(bytes.fromhex(bad["hex"]), error)
        session.raw(frame(EVENT, 102) + b"and whatever else")
        yield session
