"""What chaos prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tests.chaos.chaos import Chaos
from tests.chaos.stage import Stage
from tests.chaos.tally import NO_LISTENER, percentile_ms

_MOST_LINES: Final = 40
HEAD: Final = (
    f"{'stage':<15}{'calls/s':>8}{'good/s':>8}{'429':>6}{'503':>6}{'504':>6}{'lost':>6}{'gone':>6}"
    f"{'admitted p50, p99 ms':>22}{'refused p50, p99 ms':>21}{'CPU':>6}{'RSS MiB':>9}"
)

#: What the columns are that do not say so themselves.
LEGEND: Final = (
    "429, 503, 504: the share of the calls that was answered so. lost: calls that had no answer.\n"
    "gone: the share that could not connect, since the node had closed its listeners to end."
)


def explained(stages: Iterable[Callable[..., object]]) -> str:
    """Return a line for each of *stages*: its name, and what happens in it."""
    return "\n".join(f"  {each.__name__:<15}{(each.__doc__ or '').strip()}" for each in stages)


def line(stage: Stage) -> str:
    """Return the row of *stage*."""
    tally = stage.tally
    seconds = tally.seconds or 1.0
    good, refused = tally.good(), tally.refused_s
    return (
        f"{stage.name:<15}{tally.count() / seconds:>8.0f}{tally.count('2') / seconds:>8.0f}"
        f"{tally.share('429'):>6.0%}{tally.share('503'):>6.0%}{tally.share('504'):>6.0%}"
        f"{sum(tally.lost_on_a_line.values()):>6}{tally.share(NO_LISTENER):>6.0%}"
        f"{_pair(good):>22}{_pair(refused):>21}"
        + (f"{stage.cpu:>6.0%}{stage.rss_bytes / 2**20:>9.1f}" if stage.rss_bytes else f"{'-':>6}{'-':>9}")
    )


def _pair(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "-"
    return f"{percentile_ms(seconds, 50):.1f}, {percentile_ms(seconds, 99):.1f}"


def table(stages: Iterable[Stage]) -> str:
    """Return a row for each of *stages*, below a head."""
    return "\n".join((HEAD, *map(line, stages)))


def seen(chaos: Chaos) -> str:
    """Return what was seen beside the calls."""
    watch, node = chaos.watch, chaos.node
    lines = [
        f"  {each.at_s:6.1f} s  {each.what}: {each.before or '-'} -> {each.after or '-'}"
        for each in watch.changes
    ]
    waits = sorted(
        wait for stage in chaos.stages for each in stage.tally.retry_after_s.values() for wait in each
    )
    notes = [f"  {stage.name}: {note}" for stage in chaos.stages for note in stage.notes]
    refusals = f"Retry-After of {len(waits)} refusals: " + (
        f"{waits[0]:.1f} to {waits[-1]:.1f} s" if waits else "none"
    )
    dropped = sum(stage.tally.dropped for stage in chaos.stages)
    events = ", ".join(f"{times} {name}" for name, times in sorted(node.log.events.items()))
    return "\n".join(
        (
            "changes, by /readyz and /metrics:",
            *_few(lines or ["  none"]),
            *_few(notes),
            refusals,
            f"the admin plane's slowest page took {watch.slowest_s * 1000:.0f} ms;"
            f" {watch.unanswered} did not come",
            f"calls that were due and not made, for want of time here: {dropped}",
            f"log: {events}; tracebacks and the like: {len(node.log.bad)}",
        )
    )


def _few(lines: list[str]) -> list[str]:
    """Return *lines*, the first of them alone where they are many, as of a soak."""
    return (
        lines
        if len(lines) <= _MOST_LINES
        else [*lines[:_MOST_LINES], f"  and {len(lines) - _MOST_LINES} more"]
    )
