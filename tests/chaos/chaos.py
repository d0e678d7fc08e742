"""A node under chaos: what is done to all stages, and looked at in all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from tests.chaos.lateness import BUSY_MS, Lateness
from tests.chaos.load import Load, both
from tests.chaos.node import Node
from tests.chaos.owners import SERVICE_S, Owners
from tests.chaos.stage import Stage
from tests.chaos.uploads import Uploads
from tests.chaos.watch import Watch

GRACE_S: Final = 1.0
DEADLINE_S: Final = 2.0
#: Seconds that what callers leave behind may take to go.
_QUIET_S: Final = 20.0


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
        self.calm_load = both(search=gate / SERVICE_S / 16, get_small=gate / 2, send=gate / 4, put=gate / 4)
        self.peak_per_s = 0.0
        self.unloaded_p99_ms = 0.0
        self.descriptors = 0
        #: What the node had run and waited when this stage began, in seconds.
        self._before = (0.0, 0.0)
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
        self._lateness = Lateness()
        self._noting = asyncio.ensure_future(self._lateness.run())
        await asyncio.sleep(0.5)
        # Health checks keep a connection to each owner, once there is one.
        self.descriptors = self.node.descriptors() + len(self.owners.sections())

    async def close(self) -> None:
        """End what is left."""
        self._noting.cancel()
        self.watch.stop()
        try:
            await self._watching
        finally:
            self.load.close()
            await self.node.kill()

    async def do(self, stage: Callable[[Chaos, Stage], Awaitable[None]]) -> Stage:
        """Do a stage, and hold it to what holds of all of them."""
        done = Stage(stage.__name__, from_s=self.watch.seconds)
        before = self._before = self.node.cpu_s(), self.node.waited_s()
        await stage(self, done)
        await self.load.settle()
        done.until_s = self.watch.seconds
        with contextlib.suppress(OSError):  # the last stage ends it
            done.cpu = (self.node.cpu_s() - before[0]) / (done.until_s - done.from_s)
            done.rss_bytes = self.node.rss_bytes()
        tally = done.tally
        lost = tally.lost_on_a_line if self.watch.ending else tally.lost
        done.must(not lost, f"every call is answered: {lost or 'none was lost'}")
        silent = dict(tally.silent)
        done.must(not silent, f"every 429 and 503 says when to come back: {silent or 'all'}")
        done.must(not tally.count("500"), "no call finds a defect")
        self.owners.check()
        self.stages.append(done)
        return done

    async def switch(self, **changes: Mapping[str, object]) -> None:
        """Reload with other owners, or other settings."""
        self.node.write(**(self.owners.sections() | changes))
        await self.node.reload()

    async def quiet(self) -> None:
        """Hang up, and wait until what calls have left behind is gone, or for some time."""
        self.load.close()
        await self.watch.until(lambda: self.node.descriptors() <= self.descriptors, _QUIET_S)
        await self.watch.fresh()

    @contextlib.asynccontextmanager
    async def uploads_held(self) -> AsyncIterator[Uploads]:
        """Let callers begin uploads, and leave them so until the block ends."""
        held = Uploads(self.node)
        await held.begin()
        try:
            yield held
        finally:
            held.abandon()

    # What is looked at

    def can_judge(self, stage: Stage, bounds: int) -> bool:
        """Whether the times of *stage* say something: the machine was not busy with something else.

        :param bounds: how many are not looked at if it was.
        """
        late_ms = self._lateness.ms(stage.began)
        ran_s, waited_s = self.node.cpu_s() - self._before[0], self.node.waited_s() - self._before[1]
        busy = ""
        if late_ms > BUSY_MS:
            busy = f"this process itself was late by {late_ms:.0f} ms"
        elif waited_s > ran_s:
            busy = f"the node waited {waited_s:.1f} s for a processor, and had one for {ran_s:.1f} s"
        if busy:
            stage.unjudged += bounds
            stage.notes.append(f"{busy}: times are not judged")
        return not busy

    def all_is_well(self, stage: Stage) -> None:
        """Calls go well; on a machine that stands still for a while some are refused, or late."""
        ends = {how: times for (_, _, how), times in stage.tally.ends.items() if how[0] != "2"}
        stage.must(not ends, f"all calls go well: {ends or 'they do'}", timed=True)
        stage.must(stage.tally.count("2") > 0, "calls go well")

    def permits_are_back(self, stage: Stage) -> None:
        """Nobody calls: nothing is held for anybody."""
        left = {each["facet"]: each["in_use"] for each in self.watch.status["gates"] if each["in_use"]}
        streams, calls = self.watch.status["oap_streams"], self.watch.inflight
        stage.must(not left, f"permits are back: {left or 'all'}")
        stage.must(not streams and not calls, f"no call is under way: {streams} streams, {calls:.0f} calls")

    def stays_ready(self, stage: Stage, what: str) -> None:
        """Nobody has seen the node unready since *stage* began."""
        changes = self.watch.between(stage.from_s, self.watch.seconds, "ready")
        stage.must(self.watch.ready and not changes, what)

    async def one_is_ill(self, stage: Stage, owner: str, ill: tuple[str, ...], *ways: str) -> None:
        """Let an owner be ill under a load that is no trouble.

        *ill* calls end in one of *ways*, all others go well, and the node is ready.
        """
        tally = stage.tally
        await self.switch(**self.owners.sections(**{owner: self.owners.ill[owner]}))
        await self.load.offer(self.calm_load, self.unit_s, tally)
        await self.load.settle()
        ended = sum(tally.count(*ways, call=call) for call in ill)
        asked = sum(tally.count(call=call) for call in ill)
        stage.must(ended == asked > 0, f"{', '.join(ill)} end as documented: {ended} of {asked}")
        others = {each.call for each in self.calm_load} - set(ill)
        good = all(tally.share("2", call=call) == 1 for call in others)
        stage.must(good, f"{', '.join(sorted(others))} do not suffer", timed=True)
        stage.must(all(tally.count("2", call=call) for call in others), "the others go on")
        self.stays_ready(stage, "an owner that is ill leaves readiness be")
        await self.switch()
        await self.watch.until(lambda: self.watch.well, _QUIET_S)
        stage.must(self.watch.well, "the owner's health is seen, and calls are let through to it")
