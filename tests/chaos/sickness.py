"""The stages of chaos in which the node itself is sick: it has no time, or is too large."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.chaos.chaos import Chaos
from tests.chaos.crowd import ENOUGH, NEVER, Crowd, threshold_s
from tests.chaos.stage import Stage
from tests.chaos.tally import Tally

#: What its reactor may be late by, at least and at most, and for how long it is seen what it is by itself.
_LEAST_LAG_S: Final = 0.02
_MOST_LAG_S: Final = 0.04
_ALONE_S: Final = 1.0
_UNREADY_AFTER_S: Final = 1.0
_THRESHOLDS: Final = {"unready_after": f"{_UNREADY_AFTER_S}s"}
#: Callers of each door that search, and that write, at first; of both doors at most.
_CALLERS: Final = {
    ("http", "search"): 48,
    ("http", "send"): 8,
    ("oap", "search"): 48,
    ("oap", "send"): 8,
}
_MOST_CALLERS: Final = 1_792
#: How long a load goes on until the node is unready, and what is waited until it is ready again.
_LONGEST_S: Final = 12.0
_READY_AGAIN_S: Final = 2.0
#: Only writes are refused for so long at least.
_WRITES_ALONE_S: Final = 2.0
#: What callers may make the node hold, and what the process takes beside: for a few hundred connections, and
#: what the allocator does not use.
_BUFFERS_BYTES: Final = 16 << 20
_SLACK_BYTES: Final = 12 << 20
#: By so much two shares differ by chance, where all is shed sooner or later.
_NOISE: Final = 0.05
#: What the node needs to be sure.
_SETTLE_S: Final = 0.5


async def node_bound(chaos: Chaos, stage: Stage) -> None:
    """More callers than the node has time for, each again after its answer."""
    watched = dict(_THRESHOLDS) | {"lag": NEVER}
    room = _room(chaos)
    await chaos.switch(**room, overload=watched)
    lag_s = await threshold_s(chaos.watch, _ALONE_S, _LEAST_LAG_S, _MOST_LAG_S)
    growing, shed = Tally(), Tally()
    crowd = Crowd(chaos.load, chaos.watch, _CALLERS, growing)
    late_s = await crowd.until_late(ENOUGH * lag_s, _MOST_CALLERS)
    crowd.count_in(shed)
    await chaos.switch(**room, overload=watched | {"lag": f"{lag_s * 1000:.0f}ms"})
    await chaos.watch.until(lambda: not chaos.watch.ready, _LONGEST_S)
    await crowd.leave()
    ended_s = chaos.watch.seconds
    stage.notes.append(
        f"{crowd.size} callers make it late by {late_s * 1000:.0f} ms; it sheds from {lag_s * 1000:.0f} ms on"
    )
    stage.tally.merge(growing)
    stage.tally.merge(shed)
    tally = stage.tally
    ways = tally.count("2", "429", "503 not_ready", "503 owner_unavailable")
    stage.must(ways == tally.count(), "calls are answered, or refused", timed=True)
    stage.must(not growing.count("503 not_ready"), "nothing is shed below the threshold")
    await _gets_well(chaos, stage, ended_s)
    # Before the listener closes what is idle, since there are more than it takes otherwise.
    chaos.load.close()
    await chaos.switch()
    stage.must(shed.count("503 not_ready", call="send") > 0, "writes are shed")
    reads, writes = (shed.share("503 not_ready", call=call) for call in ("search", "send"))
    stage.must(writes >= reads - _NOISE, f"writes before reads: {writes:.0%}, {reads:.0%}", timed=True)


def _room(chaos: Chaos) -> dict[str, dict[str, object]]:
    """Return what lets in all of a crowd, by section; its searches are answered at once, and at length."""
    return chaos.owners.sections(index=chaos.owners.quick) | {
        "owners__index": {"url": chaos.owners.quick, "concurrency": _MOST_CALLERS},
        "facets__search": {"limit": _MOST_CALLERS},
        "limits": {name: 2 * _MOST_CALLERS for name in ("max_calls", "max_connections", "max_handshakes")},
    }


async def too_large(chaos: Chaos, stage: Stage) -> None:
    """The process has a little more memory than it may."""
    await chaos.switch(overload=_THRESHOLDS | {"rss": int(chaos.node.rss_bytes() / 1.03)})
    await asyncio.sleep(_SETTLE_S)
    await chaos.load.offer(chaos.calm_load, min(chaos.unit_s, _WRITES_ALONE_S), stage.tally)
    await chaos.load.settle()
    tally = stage.tally
    stage.must(tally.count("503 not_ready", call="send") == tally.count(call="send"), "all writes are shed")
    reads = tally.share("2", call="search")
    stage.must(reads == 1, f"reads go on: {reads:.0%}", timed=True)
    await chaos.watch.until(lambda: not chaos.watch.ready, _LONGEST_S)
    ended_s = chaos.watch.seconds
    await chaos.switch()
    await _gets_well(chaos, stage, ended_s)


async def buffers_full(chaos: Chaos, stage: Stage) -> None:
    """Callers begin more uploads than there is memory for: nothing more is read, until they are gone."""
    await chaos.switch(limits={"buffers": _BUFFERS_BYTES})
    async with chaos.uploads_held() as held:
        await chaos.load.offer(chaos.calm_load, min(chaos.unit_s, _WRITES_ALONE_S), stage.tally)
        grown = held.grown_bytes()
    await chaos.load.settle()
    tally = stage.tally
    ways = tally.count("2", "429 busy", "503 owner_unavailable", "504 owner_timeout")
    stage.must(ways == tally.count(), "calls wait, and are answered, or refused")
    stage.must(tally.count("2") > 0, "calls go well once there is room")
    stage.notes.append(f"{held}; grown by {grown / 2**20:.1f} MiB of {_BUFFERS_BYTES / 2**20:.0f}")
    most = _BUFFERS_BYTES + _SLACK_BYTES
    stage.must(grown <= most, f"memory has a bound: {grown >> 20} MiB, {most >> 20}")
    await chaos.switch()


async def _gets_well(chaos: Chaos, stage: Stage, ended_s: float) -> None:
    """The cause is gone since *ended_s*: the node was unready before, and is ready soon."""
    await chaos.watch.until(lambda: chaos.watch.ready, _LONGEST_S)
    changes = chaos.watch.between(stage.from_s, chaos.watch.seconds, "ready")
    unready = any(each.after.startswith("no") for each in changes)
    stage.must(unready, "overload that lasts makes it unready")
    stage.must(chaos.watch.ready, "it is ready again")
    again_s = chaos.watch.ready_after(ended_s) or 0.0
    stage.notes.append(f"ready again {again_s:.1f} s after its cause is gone")
    if chaos.can_judge(stage, 1):
        stage.must(again_s <= _READY_AGAIN_S, f"that takes {again_s:.1f} s, {_READY_AGAIN_S:.0f}", timed=True)
    shed = chaos.watch.between(stage.from_s, chaos.watch.seconds, "shedding")
    stage.must(any(each.after == "true" for each in shed), "/readyz says that it sheds")
