"""Properties of the sans-IO core that hold for whatever comes in, and however it is cut.

Run by pytest. The examples are the same in every run, and few enough for a few seconds in all.
"""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.decoder import Frame, FrameDecoder, FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed, HelloReceived, StreamOpened, StreamRefused
from micronode.oap.wire.frames import END, LEGAL_FLAGS, REQ, START, encode_frame
from micronode.oap.wire.heads import HeadError, dump_object, parse_object
from micronode.oap.wire.limits import HEADER_BYTES, MAX_CAP_BYTES, MAX_HEAD_BYTES
from tests.support.vectors import Playback, Vector, sessions

bounded = settings(derandomize=True, database=None, deadline=None, max_examples=150)

#: What the decoder may say: the errors of the connection class.
CONNECTION_ERRORS = frozenset(
    (
        ErrorCode.FRAME_TOO_LARGE,
        ErrorCode.BAD_LENGTH,
        ErrorCode.BAD_VERSION,
        ErrorCode.BAD_FLAGS,
        ErrorCode.CAP_ON_NON_START,
        ErrorCode.CAP_TOO_LARGE,
    )
)
HELLO = encode_frame(REQ, 0, 0, 1, b"{}")
MAX_CHUNK = 256

tenants = st.binary(min_size=16, max_size=16)
corr_ids = st.integers(0, 6)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """A legal frame."""
    flags = draw(st.sampled_from(sorted(LEGAL_FLAGS)))
    return (
        flags,
        draw(st.integers(0, 0xFFFF)),
        draw(st.integers(0, 0xFFFF)),
        draw(tenants),
        draw(st.integers(0, (1 << 64) - 1)),
        draw(st.binary(max_size=64)) if flags & START else b"",
        draw(st.binary(max_size=MAX_CHUNK)),
    )


@st.composite
def talk(draw: st.DrawFn) -> bytes:
    """Bytes that look like a caller's: mostly frames on few ids, some of them wrong, some noise."""
    said = [HELLO] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.integers(0, 19)) == 0:
            said.append(draw(st.binary(max_size=60)))
            continue
        flags = draw(st.sampled_from((REQ, REQ | END, REQ | START, REQ | START | END)) | st.integers(0, 255))
        said.append(
            encode_frame(
                flags,
                draw(st.sampled_from((0, 0, 0, 499, 102, 200))),
                draw(st.sampled_from((0x0402, 0x0402, 0x0101, 0))),
                draw(corr_ids),
                draw(st.binary(max_size=16) | st.just(b"x" * (MAX_CHUNK + 1))),
                cap=b"c" if flags & START and draw(st.booleans()) else b"",
            )
        )
    return b"".join(said)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *data* at the positions in *cuts* that it has."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def answered(node: NodeConnection, pieces: list[bytes]) -> list[object]:
    """Return the events of a node that answers HELLO and nothing else."""
    events: list[object] = []
    for piece in pieces:
        for event in node.receive(piece):
            events.append(event)
            if isinstance(event, HelloReceived):
                node.send_hello(event, {})
    return events


SESSIONS = [vector for vector in sessions() if sum(map(len, vector["caller"])) < 20_000]


@bounded
@given(st.sampled_from(SESSIONS), st.lists(st.integers(0, 1 << 16), max_size=30))
def test_a_session_is_the_same_however_it_is_cut(vector: Vector, cuts: list[int]) -> None:
    data = bytes.fromhex("".join(vector["caller"]))
    playback = Playback(vector)
    playback.feed(pieces_of(data, cuts))
    assert playback.events == vector["events"]
    assert b"".join(playback.output).hex() == "".join(vector["node"])


@bounded
@given(talk(), st.lists(st.integers(0, 1 << 16), max_size=30))
def test_any_talk_is_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole = answered(NodeConnection(max_chunk=MAX_CHUNK), [data])
    cut = answered(NodeConnection(max_chunk=MAX_CHUNK), pieces_of(data, cuts))
    assert cut == whole


@bounded
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
@example(b"\x00" * 300, [])
def test_noise_is_refused_and_nothing_is_raised(data: bytes, cuts: list[int]) -> None:
    for hello in (b"", HELLO):
        events = answered(NodeConnection(), pieces_of(hello + data, cuts))
        failures = [event for event in events if isinstance(event, ConnectionFailed)]
        assert failures == events[len(events) - len(failures) :]
        assert len(failures) <= 1


@bounded
@given(st.binary(max_size=300))
def test_the_decoder_says_only_what_is_documented(data: bytes) -> None:
    said = ErrorCode.BAD_LENGTH
    try:
        for frame in FrameDecoder().feed(data):
            assert frame[0] in LEGAL_FLAGS
    except FrameError as error:
        said = error.code
    assert said in CONNECTION_ERRORS


@bounded
@given(st.lists(talk(), max_size=4), st.integers(1, 700))
def test_held_memory_is_bounded(said: list[bytes], step: int) -> None:
    """At most one legal frame is held: a chunk, or a head with its capability."""
    decoder = FrameDecoder(max_chunk=MAX_CHUNK)
    most = HEADER_BYTES + max(MAX_CHUNK, MAX_HEAD_BYTES + MAX_CAP_BYTES)
    data = b"".join(said) + encode_frame(REQ, 0, 1, 1, b"x" * 40_000)
    try:
        for at in range(0, len(data), step):
            for _frame in decoder.feed(data[at : at + step]):
                pass
            assert len(decoder._begun) <= most
            assert decoder._need <= most
    except FrameError:
        pass


@bounded
@given(st.lists(frames(), max_size=6), st.lists(st.integers(0, 4_000), max_size=8))
def test_what_is_encoded_is_decoded(sent: list[Frame], cuts: list[int]) -> None:
    data = b"".join(
        encode_frame(flags, code, app, corr_id, payload or b"", tenant=tenant, cap=cap)
        for flags, code, app, tenant, corr_id, cap, payload in sent
    )
    decoder = FrameDecoder()
    got = [frame for piece in pieces_of(data, cuts) for frame in decoder.feed(piece)]
    assert got == sent
    assert not decoder.mid_frame


@bounded
@given(talk(), st.data())
def test_every_start_gets_one_terminal_frame(data: bytes, choices: st.DataObject) -> None:
    """The node answers at random moments; at the end each START that was taken up has one end."""
    node, owed = NodeConnection(max_chunk=MAX_CHUNK, max_inflight=3), set[int]()
    opened = refused = ended = 0
    for event in node.receive(HELLO + data):
        if isinstance(event, HelloReceived):
            node.send_hello(event, {})
        elif isinstance(event, StreamOpened):
            opened += 1
            owed.add(event.corr_id)
        elif isinstance(event, StreamRefused):
            refused += 1
            assert event.corr_id not in owed or event.code is ErrorCode.CONFLICT
        elif isinstance(event, ConnectionFailed):
            assert node.open_streams == 0
            return
        assert node.open_streams == len(owed) <= 3
        if owed and choices.draw(st.booleans()):
            corr_id = owed.pop()
            node.send_error(corr_id, ErrorCode.INTERNAL, {})
            ended += 1
            assert not node.is_open(corr_id)
    assert opened == ended + node.open_streams


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts
json_values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@bounded
@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), json_values, max_size=4)
)
def test_json_that_is_written_is_read(value: dict[str, object]) -> None:
    assert parse_object(dump_object(value)) == value


@bounded
@given(st.binary(max_size=200) | st.text('{}[]",:\\u0dDea1-. \n', max_size=200).map(str.encode))
def test_json_is_an_object_or_bad_json(data: bytes) -> None:
    said, value = ErrorCode.BAD_JSON, None
    try:
        value = parse_object(data)
    except HeadError as error:
        said = error.code
    assert value is None or isinstance(value, dict)
    assert said is ErrorCode.BAD_JSON
