"""What a node has for its calls: gates, queues and timers, and what runs beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from micronode.assembly import Assembly
from micronode.bus import MAX_EVENTS
from micronode.concurrency.rates import MAX_BUCKETS
from micronode.concurrency.registry import Figure, Kind, Part
from micronode.overview import gates, slots


def call_parts(parts: Assembly) -> Iterator[Part]:
    """Yield what the node that is made of *parts* has for its calls, whichever door they come by."""
    yield from _gates(parts)
    yield from _queues(parts)
    yield from _timers(parts)


def _gates(parts: Assembly) -> Iterator[Part]:
    dispatcher = parts.dispatcher

    def of_calls() -> Iterator[Figure]:
        for name, gate in gates(parts).items():
            # Every facet has slots, whether it has subscriptions or not.
            yield Figure(gate.in_use, gate.limit, name, (gate, parts.dispatcher.serving.bounds[name].slots))

    yield Part(
        name="calls",
        kind=Kind.GATE,
        owner="calls.serving",
        unit="calls",
        keys=("facets.NAME.limit",),
        bound_by="a permit of its facet, from dispatch until the last byte of the answer was handed on",
        then="The call waits in ``calls.waiting`` if it may, or is refused at once: 429 ``busy`` with"
        " ``Retry-After``. A smaller limit takes no permit back; the gate refuses until fewer are out.",
        figures=of_calls,
    )
    yield Part(
        name="calls.all",
        kind=Kind.GATE,
        owner="calls.serving",
        unit="calls",
        keys=("limits.max_calls",),
        bound_by="a permit of the node, taken together with that of the facet or not at all",
        then="As ``calls``: the call waits in ``calls.waiting`` if it may, or is refused.",
        figures=lambda: [
            Figure(gate.in_use, gate.limit, objects=(gate,)) for gate in (dispatcher.serving.calls,)
        ],
    )
    yield Part(
        name="calls.rates",
        kind=Kind.POOL,
        owner="concurrency.rates",
        unit="callers",
        keys=("limits.rps",),
        bound_by="a bucket of tokens a caller, of which those that are full are forgotten first",
        then="429 ``rate_limited`` with ``Retry-After``. Callers beyond the bound share one bucket.",
        figures=lambda: [Figure(len(dispatcher.rates), MAX_BUCKETS, objects=(dispatcher.rates,))],
    )
    yield Part(
        name="subscriptions",
        kind=Kind.GATE,
        owner="calls.serving",
        unit="subscriptions",
        keys=("facets.NAME.subscriptions",),
        bound_by="a slot of its facet, and no permit, for as long as it runs",
        then="The subscription is refused at once: 429 ``busy`` with ``Retry-After``.",
        figures=lambda: [
            Figure(gate.in_use, gate.limit, name, (gate,)) for name, gate in slots(parts).items()
        ],
    )
    polls = parts.deliveries.polls
    yield Part(
        name="feed.polls",
        kind=Kind.GATE,
        owner="facets.polls",
        also=("facets.seats",),
        unit="polls",
        keys=("facets.feed.limit", "owners.mailbox.concurrency"),
        bound_by="a quarter of the permits of the facet or of the mailbox, whichever are fewer; at most 16",
        then="Topics wait for their turn in ``feed.topics``.",
        figures=lambda: [Figure(polls.running, polls.limit, objects=(polls,))],
    )


def _queues(parts: Assembly) -> Iterator[Part]:
    polls = parts.deliveries.polls
    yield Part(
        name="calls.waiting",
        kind=Kind.QUEUE,
        owner="concurrency.backpressure",
        unit="calls",
        keys=("facets.NAME.queue",),
        bound_by="what the facet lets wait for its permits, or for the node's; none unless it is configured",
        then="429 ``busy``. First come, first served, each within half of its time: 429 where that passes,"
        " and 503 ``draining`` for who is left at a drain's deadline.",
        figures=lambda: [
            Figure(gate.waiting, gate.queue, name, (gate,)) for name, gate in gates(parts).items()
        ],
    )
    yield Part(
        name="feed.topics",
        kind=Kind.QUEUE,
        owner="facets.polls",
        also=("facets.seats",),
        unit="topics",
        keys=("facets.feed.subscriptions",),
        bound_by="the topics that have a subscriber, each of which is in it once at most",
        then="First come, first asked for. Where the facet has no permit free, the next look is in 100 ms.",
        figures=lambda: [Figure(polls.due, objects=(polls,))],
    )
    yield Part(
        name="feed.messages",
        kind=Kind.QUEUE,
        owner="facets.subscription",
        also=("oap.subscription", "http.events"),
        unit="messages",
        bound_by="16 of a subscription, what one poll brings; the next poll is made when they are written",
        then="The subscription asks for no more until its caller takes them; their visibility runs on.",
    )
    yield Part(
        name="bus.events",
        kind=Kind.QUEUE,
        owner="bus",
        unit="events",
        bound_by="what one listener has not taken yet; the longest is shown",
        then="The oldest is dropped and counted (``bus_lagged_total``): nothing waits for a listener.",
        figures=lambda: [Figure(parts.bus.waiting, MAX_EVENTS, objects=(parts.bus,))],
    )


def _sickness(parts: Assembly) -> Iterable[tuple[str, tuple[float, float]]]:
    measures = parts.overload.measures
    lag_s, most_s = measures["lag"]
    return (("lag", (round(lag_s * 1000, 3), most_s * 1000)), ("rss", measures["rss"]))


def _timers(parts: Assembly) -> Iterator[Part]:
    dispatcher = parts.dispatcher
    yield Part(
        name="calls.timeouts",
        kind=Kind.TIMER,
        owner="calls.dispatcher",
        also=("concurrency.timeouts",),
        unit="calls",
        keys=("facets.NAME.timeout",),
        bound_by="the calls that have no head yet; one delayed call does for all that have the same time",
        then="The call is cancelled: 504 ``owner_timeout``; 408 ``timeout`` where its request is not whole.",
        figures=lambda: [
            Figure(each.running, None, f"{each.seconds:g} s", (each,)) for each in dispatcher.timeouts
        ],
    )
    yield Part(
        name="calls.deadlines",
        kind=Kind.TIMER,
        owner="calls.deadline",
        unit="calls",
        bound_by="the calls whose callers named a deadline of their own",
        then="As ``calls.timeouts``.",
    )
    yield Part(
        name="overload",
        kind=Kind.TIMER,
        owner="concurrency.overload",
        unit="milliseconds",
        keys=("overload.lag", "overload.rss", "overload.unready_after"),
        bound_by="ten beats a second, while there is a threshold",
        then="From the threshold on writes are refused, 503 ``not_ready``; at twice that, or after 3 s, all"
        " calls are; and when it has lasted, ``/readyz`` says no.",
        figures=lambda: [
            Figure(value, bound or None, name, (parts.overload,)) for name, (value, bound) in _sickness(parts)
        ],
    )
    yield Part(
        name="calls.refusals",
        kind=Kind.TIMER,
        owner="concurrency.shedlog",
        unit="reasons",
        bound_by="one a reason and facet of which calls are being refused",
        then="A line in the log says how many there were; one without any, that it is over.",
        figures=lambda: [Figure(parts.shed.going_on, objects=(parts.shed,))],
    )
    yield Part(
        name="reactor.heartbeat",
        kind=Kind.TIMER,
        owner="observability.heartbeat",
        also=("observability.repeating",),
        unit="beats",
        bound_by="one a second",
        then="How late it is is the reactor's lag; a second late, and ``/healthz`` fails.",
        figures=lambda: [Figure(1 if parts.heartbeat.running else 0, 1, objects=(parts.heartbeat,))],
    )
    yield Part(
        name="drain",
        kind=Kind.TIMER,
        owner="concurrency.shutdown",
        also=("concurrency.spread", "concurrency.lastaccept", "oap.leaving"),
        unit="waits",
        keys=("drain.grace", "drain.deadline"),
        bound_by="one, while the node stops",
        then="The next phase of the drain begins; calls that are left at its end are cut off.",
    )
