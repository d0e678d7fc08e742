"""The parts of a node: which gates, queues, timers and so on there are, and what bounds each.

:mod:`micronode.concurrency.registry` says what a part is. Whoever gives a node another one adds it here,
beside what is like it; ``tests/test_topology.py`` finds the module that was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from micronode.adapters.owner import OwnerClient
from micronode.adapters.pool import POOL_IDLE_S
from micronode.assembly import Assembly
from micronode.bus import MAX_EVENTS
from micronode.concurrency.registry import Figure, Kind, Part, Topology
from micronode.doors import connection_parts
from micronode.overview import gates, slots
from micronode.security.decisions import MAX_DECISIONS


def make_topology(parts: Assembly) -> Topology:
    """Return the topology of the node that is made of *parts*."""
    topology = Topology()
    topology.register(*_gates(parts), *_queues(parts))
    topology.register(*connection_parts(parts))
    topology.register(*_owners(parts), *_timers(parts))
    return topology


def _gates(parts: Assembly) -> Iterator[Part]:
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
        then="The call is refused at once: 429 ``busy`` with ``Retry-After``. A smaller limit takes no permit"
        " back; the gate refuses until fewer are out.",
        figures=of_calls,
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
        name="feed.topics",
        kind=Kind.QUEUE,
        owner="facets.polls",
        also=("facets.seats",),
        unit="topics",
        keys=("facets.feed.subscriptions",),
        bound_by="the topics that have a subscriber, each of which is in it once at most",
        then="First come, first asked for. Where the facet has no permit free, the next look is in 100 ms.",
        figures=lambda: [Figure(polls.due, polls.topics, objects=(polls,))],
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


def _owners(parts: Assembly) -> Iterator[Part]:
    def clients() -> Iterable[tuple[str, OwnerClient]]:
        return parts.owners.clients.items()

    yield Part(
        name="owners.permits",
        kind=Kind.GATE,
        owner="adapters.owner",
        also=("adapters.permits",),
        unit="calls",
        keys=("owners.NAME.concurrency",),
        bound_by="a permit of the owner, for as long as a call of it lasts, its body included",
        then="503 ``owner_unavailable`` at once, but for what may wait in ``owners.waiting``.",
        figures=lambda: [
            Figure(client.permits.in_use, client.permits.limit, name, (client.permits,))
            for name, client in clients()
        ],
    )
    yield Part(
        name="owners.waiting",
        kind=Kind.QUEUE,
        owner="adapters.permits",
        unit="calls",
        bound_by="1024 questions to the policy owner, each for 250 ms; no other owner is waited for",
        then="One too many, or one that waited too long, counts as an owner that cannot be asked.",
        figures=lambda: [
            Figure(client.permits.waiting, client.permits.room, name, (client.permits,))
            for name, client in clients()
        ],
    )
    yield Part(
        name="owners.connections",
        kind=Kind.POOL,
        owner="adapters.pool",
        unit="connections",
        keys=("owners.NAME.url", "owners.NAME.concurrency"),
        bound_by="the owner's permits and 8 more for each of its URLs",
        then="The oldest idle one is closed for the new one. Unused ones are closed"
        f" after {POOL_IDLE_S:g} s.",
        figures=lambda: [
            Figure(
                sum(agent.connections for agent in client.settings.agents),
                sum(agent.most for agent in client.settings.agents),
                name,
                client.settings.agents,
            )
            for name, client in clients()
        ],
    )
    yield Part(
        name="owners.requests",
        kind=Kind.QUEUE,
        owner="adapters.outgoing",
        unit="requests",
        bound_by="the requests that one turn of the reactor made, which are not more than there are permits",
        then="All leave at the beginning of the next turn.",
    )
    yield Part(
        name="owners.answers",
        kind=Kind.PRODUCER,
        owner="adapters.relay",
        also=("adapters.response",),
        unit="bytes",
        bound_by="64 KiB held until the head is sent, and one read beyond a pause",
        then="The owner's connection is not read while the caller's takes nothing.",
    )
    yield Part(
        name="owners.uploads",
        kind=Kind.PRODUCER,
        owner="adapters.upload",
        unit="bytes",
        keys=("timeouts.stall",),
        bound_by="what the owner's transport takes; beyond it the caller's body is paused",
        then="An owner that takes nothing for so long fails the call: 504 ``owner_timeout``.",
    )
    yield Part(
        name="policy.decisions",
        kind=Kind.POOL,
        owner="security.decider",
        unit="decisions",
        bound_by="10 000 decisions, each for the time that the policy owner gave it, 300 s at most",
        then="The one that was asked for longest ago is forgotten, and asked for again when it is needed.",
        figures=lambda: [
            Figure(policy.decider.known, MAX_DECISIONS, objects=(policy.decider,))
            for policy in (parts.policy,)
            if policy is not None
        ],
    )


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
        name="owners.attempts",
        kind=Kind.TIMER,
        owner="adapters.lease",
        unit="calls",
        keys=("owners.NAME.timeout", "timeouts.idle"),
        bound_by="one a call of an owner: to the head of its answer, then from one piece of it to the next",
        then="The owner's connection is cut: 504 ``owner_timeout``, or the answer ends where it is.",
    )
    yield Part(
        name="owners.pauses",
        kind=Kind.TIMER,
        owner="adapters.ownercall",
        unit="calls",
        bound_by="one a call that is tried again; tries are a fifth of the calls at most",
        then="The call is tried again.",
    )
    yield Part(
        name="owners.health",
        kind=Kind.TIMER,
        owner="adapters.health",
        also=("adapters.small", "observability.repeating"),
        unit="checks",
        keys=("facets.NAME.health",),
        bound_by="one an owner, every 2 s, and never two at a time",
        then="Each URL of the owner is asked how it is.",
        figures=lambda: [
            Figure(1 if health.running else 0, 1, name, (health,))
            for name, health in parts.owners.health.items()
        ],
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
        also=("concurrency.spread", "concurrency.lastaccept"),
        unit="waits",
        keys=("drain.grace", "drain.deadline"),
        bound_by="one, while the node stops",
        then="The next phase of the drain begins; calls that are left at its end are cut off.",
    )
