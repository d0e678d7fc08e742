"""The stages of chaos in which the node itself is sick: it has no time, or is too large."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.chaos.chaos import Chaos
from tests.chaos.stage import Stage

#: What its reactor may be late by: more than by itself, and little enough for some hundred callers.
_LAG: Final = "5ms"
_UNREADY_AFTER_S: Final = 1.0
_THRESHOLDS: Final = {"unready_after": f"{_UNREADY_AFTER_S}s"}
#: Callers of each door that search, and that write.
_READERS: Final = 96
_WRITERS: Final = 16
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
    await chaos.switch(overload=_THRESHOLDS | {"lag": _LAG})
    callers = {
        (door, call): count
        for door in ("http", "oap")
        for call, count in (("search", _READERS), ("send", _WRITERS))
    }
    began = time.monotonic()
    while chaos.watch.ready and time.monotonic() - began < _LONGEST_S:
        await chaos.load.keep(callers, 0.5, stage.tally)
    ended_s, tally = chaos.watch.seconds, stage.tally
    ways = tally.count("2", "429", "503 not_ready", "503 owner_unavailable")
    stage.must(ways == tally.count(), "calls are answered, or refused", timed=True)
    await chaos.watch.until(lambda: chaos.watch.ready, _LONGEST_S)
    await chaos.switch()
    # It is the machine that decides whether so many callers make the node late.
    await _gets_well(chaos, stage, ended_s, timed=True)
    stage.must(tally.count("503 not_ready", call="send") > 0, "writes are shed", timed=True)
    reads, writes = (tally.share("503 not_ready", call=call) for call in ("search", "send"))
    stage.must(writes >= reads - _NOISE, f"writes before reads: {writes:.0%}, {reads:.0%}", timed=True)


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


async def _gets_well(chaos: Chaos, stage: Stage, ended_s: float, *, timed: bool = False) -> None:
    """The cause is gone since *ended_s*: the node was unready before, and is ready soon.

    :param timed: whether it was only unready if the machine was slow enough.
    """
    await chaos.watch.until(lambda: chaos.watch.ready, _LONGEST_S)
    changes = chaos.watch.between(stage.from_s, chaos.watch.seconds, "ready")
    unready = any(each.after.startswith("no") for each in changes)
    stage.must(unready, "overload that lasts makes it unready", timed=timed)
    stage.must(chaos.watch.ready, "it is ready again")
    again_s = chaos.watch.ready_after(ended_s) or 0.0
    stage.notes.append(f"ready again {again_s:.1f} s after its cause is gone")
    if chaos.can_judge(stage, 1):
        stage.must(again_s <= _READY_AGAIN_S, f"that takes {again_s:.1f} s, {_READY_AGAIN_S:.0f}", timed=True)
    shed = chaos.watch.between(stage.from_s, chaos.watch.seconds, "shedding")
    stage.must(any(each.after == "true" for each in shed), "/readyz says that it sheds", timed=timed)
