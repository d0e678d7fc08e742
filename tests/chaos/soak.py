"""A soak: the stages again and again, and what the node holds after each round."""

from __future__ import annotations

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


@attrs.frozen
class Sample:
    """The node at rest after a round: nobody is connected, its garbage is collected."""

    at_s: float
    rss_mib: float
    #: That Python has allocated, of whatever size: where these are flat, what grows is the allocator's.
    blocks: int
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
        samples.append(sample := await _sample(chaos, time.monotonic() - began))
        print(
            f"  {sample.at_s:6.0f} s: {sample.rss_mib:.2f} MiB resident, {sample.blocks} blocks,"
            f" {sample.descriptors} descriptors",
            flush=True,
        )
    tell(await chaos.do(drain))
    return _judge(chaos, samples, seconds)


async def _sample(chaos: Chaos, at_s: float) -> Sample:
    node = chaos.node
    node.process.send_signal(signal.SIGUSR1)
    await node.until("collected", node.log.events["collected"] + 1)
    blocks = node.log.latest["collected"]["blocks"]
    return Sample(at_s, node.rss_bytes() / 2**20, blocks, node.descriptors())


def _judge(chaos: Chaos, samples: list[Sample], seconds: float) -> str:
    last = chaos.stages[-1]
    counted = [sample for sample in samples if sample.at_s >= seconds * _WARM_UP]
    if len(counted) < 3:
        return f"memory: {len(counted)} samples say nothing"
    hours = [sample.at_s / 3600 for sample in counted]
    grown = slope(hours, [sample.rss_mib for sample in counted])
    blocks = slope(hours, [sample.blocks for sample in counted])
    lasted_s = counted[-1].at_s - counted[0].at_s
    text = (
        f"memory grows by {grown.each:+.2f} MiB/h, 95 % within {grown.within:.2f} of it, and by"
        f" {blocks.each:+.0f} blocks/h, within {blocks.within:.0f} ({len(counted)} samples of the last"
        f" {lasted_s / 60:.1f} minutes)"
    )
    if lasted_s >= _ENOUGH_S:
        last.must(grown.each < MOST_MIB_PER_HOUR, f"{text}; {MOST_MIB_PER_HOUR:.0f}", timed=True)
    most = max(sample.descriptors for sample in samples)
    last.must(most <= chaos.descriptors, f"descriptors are flat: {most} at most, {chaos.descriptors}")
    return f"{text}\ndescriptors: {most} at most after a round, {chaos.descriptors} allowed"
