"""The stages of chaos: what is done to a node, what comes of it, and what must.

A bound that speaks of time is *timed*: the suite does not hold the node to it, since the machine may have
been busy with something else; ``bin/chaos_degrade_shed.sh`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from tests.chaos.load import Load, both
from tests.chaos.node import Node
from tests.chaos.tally import Tally, percentile_ms
from tests.chaos.watch import Watch
from tests.cli.processes import Program
from tests.support.matrixcalls import CORPUS
from tests.support.switched import OwnersProgram

#: How long the index takes to answer. With the gate it says how many calls a second it can do.
SERVICE_S: Final = 0.1
#: An upload that is begun and not ended.
_HELD_BYTES: Final = 900 * 1024
_HELD: Final = 48
GRACE_S: Final = 1.0
DEADLINE_S: Final = 2.0


@attrs.frozen
class Bound:
    """What must hold, and whether it did."""

    holds: bool
    what: str
    timed: bool = False


@attrs.define
class Stage:
    """One stage that is over, or under way.

    :ivar from_s: when it began, as the watch tells time; ``until_s``: when it ended.
    :ivar cpu: the share of a processor that the node took.
    :ivar rss_bytes: what it had resident at the end.
    """

    name: str
    tally: Tally = attrs.field(factory=Tally)
    bounds: list[Bound] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    from_s: float = 0.0
    until_s: float = 0.0
    cpu: float = 0.0
    rss_bytes: int = 0

    def must(self, holds: bool, what: str, *, timed: bool = False) -> None:
        """Note a bound."""
        self.bounds.append(Bound(holds, what, timed))


class Owners:
    """The owners, in processes of their own: well ones, ill ones, and an index that takes its time."""

    def __init__(self, keeper: Any) -> None:
        quiet = ("--log-level", "error")
        well = OwnersProgram(keeper, CORPUS, *quiet)
        ill = OwnersProgram(keeper, CORPUS, "--fault", "storage=stall,index=refuse", "--fault-health", *quiet)
        timed = Program(keeper, str(SERVICE_S * 1000), python=("-m", "tests.chaos.timedowner"))
        self.well, self.ill = well.urls, ill.urls
        self.timed = timed.until(r'"url": "([^"]+)"')[1]
        self._programs = (well, ill, timed)

    def sections(self, *, index: str = "", storage: str = "") -> dict[str, dict[str, object]]:
        """Return what a node's file says of them, with another *index* or *storage*."""
        return {
            "owners__index": {"url": index or self.timed},
            "owners__storage": {"url": storage or self.well["storage"], "timeout": "1s"},
            "owners__mailbox": {"url": self.well["mailbox"]},
        }

    def check(self) -> None:
        """:raises AssertionError: one has ended."""
        for program in self._programs:
            assert program.process.poll() is None, program.complained


class Chaos:
    """Does the stages to one node.

    :ivar stages: those that are over.
    """

    def __init__(
        self, owners: Owners, folder: Path, *, unit_s: float, gate: int, module: str = "micronode"
    ) -> None:
        """:param unit_s: how long a stage's load lasts.
        :param gate: calls of search that are served at a time.
        """
        self.stages: list[Stage] = []
        self.owners = owners
        self.node = Node(folder, self._sections(gate), module)
        self.unit_s = unit_s
        self.gate = gate
        self._calm = both(search=gate / SERVICE_S / 16, get_small=gate / 2, send=gate / 4, put=gate / 4)
        self._peak = 0.0
        self._unloaded_p99_ms = 0.0
        self.descriptors = 0
        self.watch: Watch
        self.load: Load

    @staticmethod
    def _sections(gate: int) -> dict[str, dict[str, object]]:
        return {
            "facets.search": {"limit": gate, "timeout": "5s"},
            "facets.graph": {"limit": gate},
            "facets.media": {"enabled": True, "limit": 2 * gate, "timeout": "1s"},
            "facets.feed": {"limit": 2 * gate},
            "drain": {"grace": f"{GRACE_S}s", "deadline": f"{DEADLINE_S}s"},
        }

    async def start(self) -> None:
        """Start the node and the watch."""
        await self.node.start(**self.owners.sections())
        self.load = Load(self.node.addresses)
        self.watch = Watch(self.node)
        self._watching = asyncio.ensure_future(self.watch.run())
        await asyncio.sleep(0.5)
        self.descriptors = self.node.descriptors()

    async def close(self) -> None:
        """End what is left."""
        self.watch.stop()
        await self._watching
        self.load.close()
        await self.node.kill()

    async def do(self, name: str, stage: Callable[[Stage], Awaitable[None]]) -> Stage:
        """Do a stage, and hold it to what holds of all of them."""
        done = Stage(name, from_s=self.watch.seconds)
        before = self.node.cpu_s()
        await stage(done)
        await self.load.settle()
        done.until_s = self.watch.seconds
        with contextlib.suppress(OSError):  # the last stage ends it
            done.cpu = (self.node.cpu_s() - before) / (done.until_s - done.from_s)
            done.rss_bytes = self.node.rss_bytes()
        tally = done.tally
        done.must(not tally.lost, f"every call is answered: {tally.lost or 'none was lost'}")
        silent = dict(tally.silent)
        done.must(not silent, f"every 429 and 503 says when to come back, in 1 s at least: {silent or 'all'}")
        done.must(not tally.count("500"), "no call finds a defect")
        self.owners.check()
        self.stages.append(done)
        return done

    async def switch(self, **changes: Mapping[str, object]) -> None:
        """Reload with other owners, or other settings."""
        self.node.write(**(self.owners.sections() | changes))
        await self.node.reload()

    # The stages

    async def calm(self, stage: Stage) -> None:
        """A load that is no trouble."""
        await self.load.offer(self._calm, self.unit_s, stage.tally)
        await self.load.settle()
        self._all_is_well(stage)
        self._unloaded_p99_ms = self._unloaded_p99_ms or percentile_ms(stage.tally.good("search"), 99)

    async def peak(self, stage: Stage) -> None:
        """As many callers as the gate lets in, each again after its answer: the most that can be done."""
        callers = {("http", "search"): self.gate // 2, ("oap", "search"): self.gate - self.gate // 2}
        await self.load.keep(callers, self.unit_s, stage.tally)
        self._peak = stage.tally.count("2", call="search") / stage.tally.seconds
        stage.must(stage.tally.share("2") > 0.9, "a gate that is just full refuses nearly nobody", timed=True)

    async def overload(self, stage: Stage) -> None:
        """Three times what the gate lets in."""
        tally = stage.tally
        await self.load.offer(both(search=1.5 * self.gate / SERVICE_S), self.unit_s, tally)
        await self.load.settle()
        refused, good = tally.share("429 busy"), tally.count("2") / tally.seconds
        stage.must(tally.count("2", "429 busy") == tally.count(), "calls are answered, or refused with busy")
        stage.must(refused > 0, "what is too much is refused with 429")
        stage.must(refused > 0.5, f"{refused:.0%} are refused, 50 % at least", timed=True)
        self._stays_ready(stage, "full gates leave readiness be")
        stage.must(
            good >= 0.9 * self._peak, f"goodput is {good / self._peak:.2f} of the peak, 0.9", timed=True
        )
        p99 = percentile_ms(tally.good(), 99) / self._unloaded_p99_ms
        stage.must(p99 <= 2, f"p99 of what is admitted is {p99:.2f} of the unloaded one, 2", timed=True)
        p99 = percentile_ms(tally.refused_s, 99)
        stage.must(p99 <= 50, f"p99 of refusals is {p99:.1f} ms, 50", timed=True)

    async def storage_stalls(self, stage: Stage) -> None:
        """Storage takes calls, and answers none: search must not suffer."""
        await self.switch(**self.owners.sections(storage=self.owners.ill["storage"]))
        await self.load.offer(self._calm, self.unit_s, stage.tally)
        await self.load.settle()
        self._one_is_ill(
            stage, ("get_small", "put"), "504 owner_timeout", "503 owner_unavailable", "429 busy"
        )
        await self.switch()

    async def index_refuses(self, stage: Stage) -> None:
        """Nobody is where the index was."""
        await self.switch(**self.owners.sections(index=self.owners.ill["index"]))
        await self.load.offer(self._calm, self.unit_s, stage.tally)
        await self.load.settle()
        self._one_is_ill(stage, ("search",), "503 owner_unavailable")
        await self.switch()

    async def slow_uploads(self, stage: Stage) -> None:
        """Callers begin uploads, and end none of them; they are held in memory, within bounds."""
        before = self.node.rss_bytes()
        host, _, port = self.node.addresses["http"].rpartition(":")
        held = [await asyncio.open_connection(host, int(port)) for _ in range(_HELD)]
        head = f"POST /app/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: {_HELD_BYTES}\r\n\r\n"
        for _, writer in held:
            writer.write(head.encode() + bytes(_HELD_BYTES - 1))
        await self.load.offer(self._calm, self.unit_s, stage.tally)
        await self.load.settle()
        grown = self.node.rss_bytes() - before
        for _, writer in held:
            writer.transport.abort()
        self._all_is_well(stage)
        stage.notes.append(f"{_HELD} uploads of {_HELD_BYTES >> 10} KiB held: {grown / 2**20:+.1f} MiB")
        stage.must(grown < 1.5 * _HELD * _HELD_BYTES, "uploads that are held take no more than they are")

    async def reloads(self, stage: Stage) -> None:
        """SIGHUP after SIGHUP, one in five with a file that is refused."""
        loading = asyncio.ensure_future(self.load.offer(self._calm, self.unit_s, stage.tally))
        count = refused = 0
        before = self.node.log.events.copy()
        while not loading.done():
            count += 1
            if count % 5:
                limit = {"limit": self.gate + count % 3, "timeout": f"{5 + count % 2}s"}
                await self.switch(facets__search=limit)
            else:
                self.node.spoil()
                await self.node.reload()
                refused += 1
            await asyncio.sleep(0.05)
        await loading
        await self.load.settle()
        await self.switch()
        self._all_is_well(stage)
        self._stays_ready(stage, "reloads leave readiness be")
        said = self.node.log.events["config_refused"] - before["config_refused"]
        stage.must(said >= refused, f"{refused} of {count} reloads are refused, and say so")
        stage.notes.append(f"{count} reloads, {refused} of them refused")

    async def recovery(self, stage: Stage) -> None:
        """The calm of the beginning; afterwards nothing is left of all that was."""
        await self.calm(stage)
        await self.quiet()
        stage.must(self.watch.ready, "the node is ready")
        left = {each["facet"]: each["in_use"] for each in self.watch.status["gates"] if each["in_use"]}
        streams = self.watch.status["oap_streams"]
        stage.must(not left and not streams and not self.watch.inflight, f"permits are back: {left or 'all'}")
        now = self.node.descriptors()
        stage.notes.append(f"descriptors: {self.descriptors} before there were callers, {now} now")
        stage.must(now <= self.descriptors, f"descriptors: {self.descriptors} before, {now} now")

    async def quiet(self) -> None:
        """Hang up, and wait until what calls have left behind is gone, or for some seconds."""
        self.load.close()
        for _ in range(80):
            await asyncio.sleep(0.1)
            if self.node.descriptors() <= self.descriptors:
                break
        await self.watch.once()

    async def drain(self, stage: Stage) -> None:
        """SIGTERM amid the calm: nobody who is let in goes without an answer."""
        loading = asyncio.ensure_future(self.load.offer(self._calm, GRACE_S + 1.5, stage.tally))
        await asyncio.sleep(0.5)
        at_s = self.watch.seconds
        self.watch.ending = True
        self.node.terminate()
        code = await self.node.ended()
        took_s = self.watch.seconds - at_s
        self.watch.stop()
        await loading
        await self.load.settle()
        stage.must(code == 0, f"it ends well: exit code {code}")
        went = stage.tally.share("2", "lost: no listener")
        stage.must(went == 1, f"calls go well, or find no listener: {went:.1%}", timed=True)
        changes = self.watch.between(at_s, self.watch.seconds, "ready")
        stage.must(
            [each.after for each in changes] == ["no (draining)"], "/readyz says so from the beginning"
        )
        longest = GRACE_S + DEADLINE_S + 1
        stage.must(took_s <= longest, f"it takes {took_s:.1f} s, {longest:.0f}", timed=True)

    # What is looked at

    def _all_is_well(self, stage: Stage) -> None:
        """Calls go well; on a machine that stands still for a while some are refused, or late."""
        ends = {how: times for (_, _, how), times in stage.tally.ends.items() if how[0] != "2"}
        stage.must(not ends, f"all calls go well: {ends or 'they do'}", timed=True)
        stage.must(stage.tally.count("2") > 0, "calls go well")

    def _stays_ready(self, stage: Stage, what: str) -> None:
        changes = self.watch.between(stage.from_s, self.watch.seconds, "ready")
        stage.must(self.watch.ready and not changes, what)

    def _one_is_ill(self, stage: Stage, ill: tuple[str, ...], *ways: str) -> None:
        """*ill* calls end in one of *ways*, all others go well, and the node is ready."""
        tally = stage.tally
        ended = sum(tally.count(*ways, call=call) for call in ill)
        stage.must(
            ended == sum(tally.count(call=call) for call in ill) > 0, f"{', '.join(ill)} end as documented"
        )
        others = {each.call for each in self._calm} - set(ill)
        good = all(tally.share("2", call=call) == 1 for call in others)
        stage.must(good, f"{', '.join(sorted(others))} do not suffer", timed=True)
        stage.must(all(tally.count("2", call=call) for call in others), "the others go on")
        self._stays_ready(stage, "an owner that is ill leaves readiness be")
