"""What a node holds for one connection never passes the bounds of ``specs/oap-1.md`` section 4.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings

from micronode.calls.call import ResponseHead
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, MAX_CHUNK_BYTES
from micronode.oap.wire.profiles import Profile
from tests.property.oap_adversary import FULL_BYTES, MOST_SEEN, Connection
from tests.support.oap import StubNode, body, cancel, start

Connection.TestCase.settings = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    stateful_step_count=40,
    # Making a counterexample small takes minutes here: add Phase.shrink when there is one.
    phases=(Phase.generate,),
)


class TestBounds(Connection.TestCase):
    """Every history within the bounds."""


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("said", [cancel(1), body(1, b"x", app=Profile.FEED)], ids=["cancel", "breach"])
def test_an_end_may_overtake_the_head(said: bytes, full: bool) -> None:
    """A stream that the caller ended, while its head waits, gets its terminal frame and nothing else."""
    node = StubNode()
    end = node.connect()
    end.send(start(1), start(2))
    if full:
        end.transport.fill()
    node.calls[0].sink.start(ResponseHead())
    end.send(said)
    node.clock.advance(0)
    if full:
        end.transport.drain()
    frames = end.heard()
    assert [(frame.corr_id, frame.ends, frame.code >= 400) for frame in frames] == [(1, True, True)]
    assert node.calls[0].cancelled
    # The connection goes on.
    node.calls[1].answer(b"x")
    assert end.heard()[-1].ends


def test_the_worst_caller_comes_near_to_every_bound() -> None:
    """So that the measure is not blind: uploads of both kinds, endless answers, errors, half a frame."""
    MOST_SEEN.clear()
    worst = Connection()
    worst.begin()
    worst.ask("endless", windowed=False, times=4, now=True)
    worst.sources_pour(100)
    worst.open_uploads(windowed=True, streams=8, size=MAX_CHUNK_BYTES, chunks=2, now=True)
    worst.bounds_hold()
    worst.open_uploads(windowed=False, streams=9, size=MAX_CHUNK_BYTES - 1, chunks=1, now=True)
    for corr_id in list(worst.uploads)[-9:]:
        worst.say(body(corr_id, bytes(MAX_CHUNK_BYTES - 10)))
        worst.bounds_hold()
    # It is not read any more: what it says stays with it.
    assert not worst.reads
    worst.come_back()
    worst.ask_in_vain(900)
    worst.bounds_hold()
    worst.come_back()
    worst.open_uploads(windowed=False, streams=1, size=1, chunks=0, now=True)
    worst.say(body(1, bytes(MAX_CHUNK_BYTES)), now=False)
    worst.deliver(10_000, 6)
    worst.bounds_hold()
    assert MOST_SEEN["with windows"] == CONNECTION_WINDOW_BYTES
    assert CONNECTION_WINDOW_BYTES <= MOST_SEEN["without"] < CONNECTION_WINDOW_BYTES + MAX_CHUNK_BYTES
    assert MOST_SEEN["frame"] == 60_000
    assert MOST_SEEN["streams"] > 0
    assert MOST_SEEN["output"] > FULL_BYTES
