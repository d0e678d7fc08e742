"""The stages of chaos: what is done to a node, what comes of it, and what must."""

from __future__ import annotations

import asyncio

from tests.chaos.chaos import DEADLINE_S, GRACE_S, Chaos
from tests.chaos.load import both
from tests.chaos.owners import SERVICE_S
from tests.chaos.stage import Stage
from tests.chaos.tally import NO_LISTENER, percentile_ms


async def calm(chaos: Chaos, stage: Stage) -> None:
    """A load that is no trouble."""
    await chaos.load.offer(chaos.calm_load, chaos.unit_s, stage.tally)
    await chaos.load.settle()
    chaos.all_is_well(stage)
    chaos.unloaded_p99_ms = chaos.unloaded_p99_ms or percentile_ms(stage.tally.good("search"), 99)


async def peak(chaos: Chaos, stage: Stage) -> None:
    """As many callers as the gate lets in, each again after its answer: the most that can be done."""
    callers = {("http", "search"): chaos.gate // 2, ("oap", "search"): chaos.gate - chaos.gate // 2}
    await chaos.load.keep(callers, chaos.unit_s, stage.tally)
    chaos.peak_per_s = stage.tally.count("2", call="search") / stage.tally.seconds
    stage.must(stage.tally.share("2") > 0.9, "a gate that is just full refuses nearly nobody", timed=True)


async def overload(chaos: Chaos, stage: Stage) -> None:
    """Three times what the gate lets in."""
    tally = stage.tally
    await chaos.load.offer(both(search=1.5 * chaos.gate / SERVICE_S), chaos.unit_s, tally)
    await chaos.load.settle()
    refused, good = tally.share("429 busy"), tally.count("2") / tally.seconds
    stage.must(tally.count("2", "429 busy") == tally.count(), "calls are answered, or refused with busy")
    stage.must(refused > 0, "what is too much is refused with 429")
    stage.must(refused > 0.5, f"{refused:.0%} are refused, 50 % at least", timed=True)
    chaos.stays_ready(stage, "full gates leave readiness be")
    if not chaos.can_judge(stage, 3):
        return
    part = good / chaos.peak_per_s
    stage.must(part >= 0.9, f"goodput is {part:.2f} of the peak, 0.9", timed=True)
    p99 = percentile_ms(tally.good(), 99) / chaos.unloaded_p99_ms
    stage.must(p99 <= 2, f"p99 of what is admitted is {p99:.2f} of the unloaded one, 2", timed=True)
    p99 = percentile_ms(tally.refused_s, 99)
    stage.must(p99 <= 50, f"p99 of refusals is {p99:.1f} ms, 50", timed=True)


async def too_often(chaos: Chaos, stage: Stage) -> None:
    """Callers, who have one address, may ask a fifth as often as they do."""
    may = sum(stream.per_s for stream in chaos.calm_load) / 5
    await chaos.switch(limits={"rps": int(may)})
    tally = stage.tally
    await chaos.load.offer(chaos.calm_load, chaos.unit_s, tally)
    await chaos.load.settle()
    await chaos.switch()
    ways = tally.count("2", "429 rate_limited", "429 busy")
    stage.must(ways == tally.count(), "calls are answered, or refused with rate_limited")
    stage.must(tally.count("429 rate_limited") > 0, "what is too often is refused")
    # A second's worth may come at once.
    most = may * (tally.seconds + 1) + 1
    stage.must(tally.count("2") <= most, f"{tally.count('2')} are let in, {most:.0f}")
    chaos.stays_ready(stage, "rates leave readiness be")


async def storage_stalls(chaos: Chaos, stage: Stage) -> None:
    """Storage takes calls, and answers none: search must not suffer."""
    ways = ("504 owner_timeout", "503 owner_unavailable", "429 busy")
    await chaos.one_is_ill(stage, "storage", ("get_small", "put"), *ways)


async def index_refuses(chaos: Chaos, stage: Stage) -> None:
    """Nobody is where the index was."""
    await chaos.one_is_ill(stage, "index", ("search",), "503 owner_unavailable")


async def slow_uploads(chaos: Chaos, stage: Stage) -> None:
    """Callers begin uploads, and end none of them; nobody else notices."""
    async with chaos.uploads_held() as held:
        await chaos.load.offer(chaos.calm_load, chaos.unit_s, stage.tally)
        await chaos.load.settle()
        grown = held.grown_bytes()
    chaos.all_is_well(stage)
    stage.notes.append(f"{held}; grown by {grown / 2**20:.1f} MiB")
    stage.must(grown < 1.5 * held.size_bytes, "uploads that are held take no more than they are")


async def callers_leave(chaos: Chaos, stage: Stage) -> None:
    """Callers hang up before they have their answers; nobody else notices."""
    leaving = both(search=chaos.gate / SERVICE_S / 8, get_small=chaos.gate / 4, put=chaos.gate / 4)
    await asyncio.gather(
        chaos.load.offer(chaos.calm_load, chaos.unit_s, stage.tally),
        # So soon that a small gate is not full by chance: those who come by chance are some at a time.
        chaos.load.leave(leaving, chaos.unit_s, SERVICE_S / 4),
    )
    await chaos.load.settle()
    chaos.all_is_well(stage)
    await chaos.watch.fresh()
    chaos.permits_are_back(stage)


async def reloads(chaos: Chaos, stage: Stage) -> None:
    """SIGHUP after SIGHUP, one in five with a file that is refused."""
    loading = asyncio.ensure_future(chaos.load.offer(chaos.calm_load, chaos.unit_s, stage.tally))
    count = refused = 0
    before = chaos.node.log.events.copy()
    while not loading.done():
        count += 1
        if count % 5:
            limit = {"limit": chaos.gate + count % 3, "timeout": f"{5 + count % 2}s"}
            await chaos.switch(facets__search=limit)
        else:
            chaos.node.spoil()
            await chaos.node.reload()
            refused += 1
        await asyncio.sleep(0.05)
    await loading
    await chaos.load.settle()
    await chaos.switch()
    chaos.all_is_well(stage)
    chaos.stays_ready(stage, "reloads leave readiness be")
    said = chaos.node.log.events["config_refused"] - before["config_refused"]
    stage.must(said >= refused, f"{refused} of {count} reloads are refused, and say so")
    stage.notes.append(f"{count} reloads, {refused} of them refused")


async def recovery(chaos: Chaos, stage: Stage) -> None:
    """The calm of the beginning; afterwards nothing is left of all that was."""
    await calm(chaos, stage)
    await chaos.quiet()
    stage.must(chaos.watch.ready, "the node is ready")
    chaos.permits_are_back(stage)
    now = chaos.node.descriptors()
    stage.notes.append(
        f"descriptors: {now}; {chaos.descriptors} with one for each owner before there were callers"
    )
    stage.must(now <= chaos.descriptors, f"descriptors are given back: {now}, {chaos.descriptors}")


async def drain(chaos: Chaos, stage: Stage) -> None:
    """SIGTERM amid the calm: nobody who is let in goes without an answer."""
    loading = asyncio.ensure_future(chaos.load.offer(chaos.calm_load, GRACE_S + 1.5, stage.tally))
    await asyncio.sleep(0.5)
    at_s = chaos.watch.seconds
    chaos.watch.ending = True
    chaos.node.terminate()
    code = await chaos.node.ended()
    took_s = chaos.watch.seconds - at_s
    chaos.watch.stop()
    await loading
    await chaos.load.settle()
    stage.must(code == 0, f"it ends well: exit code {code}")
    gone, late = stage.tally.count(NO_LISTENER), stage.tally.count("503 draining")
    stage.notes.append(f"{gone} calls came when no listener was left, {late} were told 503 draining")
    # One that was on its way when its connection was told to go: nothing is done of it, and it may try again.
    went = stage.tally.share("2", NO_LISTENER, "503 draining")
    stage.must(went == 1, f"calls go well, are too late, or find no listener: {went:.1%}", timed=True)
    late = stage.tally.count("503 draining", door="http")
    stage.must(not late, f"over HTTP none is too late: {late}")
    changes = chaos.watch.between(at_s, chaos.watch.seconds, "ready")
    stage.must([each.after for each in changes] == ["no (draining)"], "/readyz says so from the beginning")
    longest = GRACE_S + DEADLINE_S + 1
    stage.must(took_s <= longest, f"it takes {took_s:.1f} s, {longest:.0f}", timed=True)
