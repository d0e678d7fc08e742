"""A soak: the stages again and again, and what the node holds after each round."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from tests.chaos.chaos import Chaos
from tests.chaos.slope import slope
from tests.chaos.stage import Stage
from tests.chaos.stages import drain

#: MiB an hour that the node may seem to grow by, and minutes of samples below which nothing is said of it.
MOST_MIB_PER_HOUR: Final = 1.0
_ENOUGH_S: Final = 15 * 60
#: The samples of the beginning that do not count: callers and caches fill up what they may.
_WARM_UP: Final = 1 / 3
#: How long a collection takes at most.
_COLLECTED_S: Final = 0.5


@attrs.frozen
class Sample:
    """The node at rest after a round: nobody is connected, its garbage is collected."""

    at_s: float
    rss_mib: float
    descriptors: int


async def run(
    chaos: Chaos,
    stages: Sequence[Callable[[Chaos, Stage], Awaitable[None]]],
    seconds: float,
    tell: Callable[[Stage], None],
) -> str:
    """Do *stages* until *seconds* are over, then drain; return what came of the memory."""
    began = time.monotonic()
    samples: list[Sample] = []
    while time.monotonic() - began < seconds:
        for stage in stages:
            tell(await chaos.do(stage))
        chaos.node.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(_COLLECTED_S)
        sample = Sample(time.monotonic() - began, chaos.node.rss_bytes() / 2**20, chaos.node.descriptors())
        samples.append(sample)
        print(
            f"  {sample.at_s:6.0f} s: {sample.rss_mib:.2f} MiB resident, {sample.descriptors} descriptors",
            flush=True,
        )
    tell(await chaos.do(drain))
    return _judge(chaos.stages[-1], samples, seconds)


def _judge(last: Stage, samples: list[Sample], seconds: float) -> str:
    counted = [sample for sample in samples if sample.at_s >= seconds * _WARM_UP]
    if len(counted) < 3:
        return f"memory: {len(counted)} samples say nothing"
    found = slope([sample.at_s / 3600 for sample in counted], [sample.rss_mib for sample in counted])
    lasted = counted[-1].at_s - counted[0].at_s
    text = (
        f"memory grows by {found.each:+.2f} MiB/h, 95 % within {found.within:.2f} of it"
        f" ({len(counted)} samples of the last {lasted / 60:.1f} minutes)"
    )
    if lasted >= _ENOUGH_S:
        last.must(found.each < MOST_MIB_PER_HOUR, f"{text}; {MOST_MIB_PER_HOUR:.0f}", timed=True)
    least, most = (pick(sample.descriptors for sample in counted) for pick in (min, max))
    half = len(counted) // 2
    before, after = (max(sample.descriptors for sample in each) for each in (counted[:half], counted[half:]))
    last.must(after <= before, f"descriptors are flat: {before} at most, then {after}")
    return f"{text}\ndescriptors: {least} to {most}"
