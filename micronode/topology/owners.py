"""What a node has for its owners: permits, connections, timers, and what the policy owner said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from micronode.adapters.owner import OwnerClient
from micronode.adapters.pool import POOL_IDLE_S
from micronode.assembly import Assembly
from micronode.concurrency.registry import Figure, Kind, Part
from micronode.security.decisions import MAX_DECISIONS


def owner_parts(parts: Assembly) -> Iterator[Part]:
    """Yield what the node that is made of *parts* has for its owners."""
    yield from _bounds(parts)
    yield from _timers(parts)


def _bounds(parts: Assembly) -> Iterator[Part]:
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
            Figure(client.permits.waiting, client.permits.queue, name, (client.permits,))
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
        name="owners.answers",
        kind=Kind.PRODUCER,
        owner="adapters.relay",
        also=("adapters.response",),
        unit="bytes",
        bound_by="64 KiB held until the head is sent, and one read beyond a pause",
        then="The owner's connection is not read while the caller's takes nothing.",
    )
    yield Part(
        name="owners.heads",
        kind=Kind.BUFFER,
        owner="adapters.answer",
        unit="bytes",
        bound_by="64 KiB of an answer's head, those of interim answers included",
        then="502 ``bad_gateway``; the owner's connection is closed.",
    )
    yield Part(
        name="owners.bodies",
        kind=Kind.BUFFER,
        owner="adapters.collector",
        also=("adapters.reply", "adapters.small", "facets.feed", "facets.custom"),
        unit="bytes",
        bound_by="what the node reads itself: 64 KiB of an answer or of a health check, twice what a poll of"
        " messages asks for; of a request one message, or the 64 KiB that an echo shows",
        then="A longer answer is 502 ``bad_gateway``, a longer message 413 ``body_too_large``; a longer"
        " health check has failed. An echo shows nothing of a longer body.",
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
    yield Part(
        name="owners.attempts",
        kind=Kind.TIMER,
        owner="adapters.lease",
        also=("concurrency.alarms",),
        unit="calls",
        keys=("owners.NAME.timeout", "timeouts.idle"),
        bound_by="one a call of an owner: to the head of its answer, then from one piece of it to the next",
        then="The owner's connection is cut: 504 ``owner_timeout``, or the answer ends where it is.",
        figures=lambda: [
            Figure(client.alarms.running, of=name, objects=(client.alarms,))
            for name, client in parts.owners.clients.items()
        ],
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
