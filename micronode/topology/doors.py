"""What a node has for each of its callers' connections, or for all of them.

These parts come and go by the thousand, so that they are not counted one by one: their figures are those of
the connections, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from micronode.assembly import Assembly
from micronode.concurrency.connections import Connections
from micronode.concurrency.registry import Figure, Kind, Part


def door_parts(parts: Assembly) -> Iterator[Part]:
    """Yield what the node that is made of *parts* has for its connections."""
    yield from _pools(parts)
    yield from _oap(parts)
    yield from _http(parts)


def _http_connections(parts: Assembly) -> Iterable[Figure]:
    return [Figure(parts.http.connections, of="http"), Figure(parts.admin.connections, of="admin")]


def _oap_connections(parts: Assembly) -> Iterable[Figure]:
    return [Figure(parts.oap.connections, of="oap")]


def _listeners(parts: Assembly) -> Iterable[Connections[Any]]:
    return (parts.http.held, parts.admin.held, parts.oap.held)


def _pools(parts: Assembly) -> Iterator[Part]:
    yield Part(
        name="connections",
        kind=Kind.POOL,
        owner="concurrency.connections",
        also=("http.site", "oap.factory", "concurrency.acceptor"),
        unit="connections",
        keys=("limits.max_connections",),
        bound_by="``limits.max_connections`` of a listener, 64 of the admin plane's",
        then="From 90 % on those that idle are closed, the longest first. At the bound no more are accepted:"
        " they wait in the kernel, 1024 a listener.",
        figures=lambda: [
            Figure(len(each), each.bounds.max_connections, each.listener, each.parts)
            for each in _listeners(parts)
        ],
    )
    yield Part(
        name="connections.telling",
        kind=Kind.TIMER,
        owner="concurrency.tally",
        unit="kinds of lines",
        bound_by="five a listener: refused, given up, reaped, accepting paused, failing; while it goes on",
        then="A line in the log says how many there were in 5 s; one without any, that it is over.",
        figures=lambda: [
            Figure(sum(timer.at_s is not None for timer in each.telling), 5, each.listener, each.telling)
            for each in _listeners(parts)
        ],
    )
    yield Part(
        name="buffers.telling",
        kind=Kind.TIMER,
        owner="concurrency.tally",
        unit="kinds of lines",
        bound_by="one: refused for want of memory, while it goes on",
        then="A line in the log says how many there were in 5 s; one without any, that it is over.",
        figures=lambda: [
            Figure(
                sum(timer.at_s is not None for timer in parts.buffers.telling),
                1,
                objects=parts.buffers.telling,
            )
        ],
    )
    yield Part(
        name="connections.handshakes",
        kind=Kind.POOL,
        owner="concurrency.connections",
        unit="connections",
        keys=("limits.max_handshakes",),
        bound_by="those of a listener without a whole HELLO, or a whole head; 32 of the admin plane's",
        then="The oldest is given up, 408 ``timeout``, once it has had 250 ms; so long nobody is accepted.",
        figures=lambda: [
            Figure(each.handshakes, each.bounds.max_handshakes, each.listener) for each in _listeners(parts)
        ],
    )
    yield Part(
        name="buffers",
        kind=Kind.BUFFER,
        owner="concurrency.memory",
        also=("concurrency.unfinished",),
        unit="bytes",
        keys=("limits.buffers",),
        bound_by="what is held for the callers of both doors: bodies, uploads, answers that wait to be taken",
        then="At 80 % nothing new is begun until there is less than 70 %: requests over HTTP that are not"
        " whole make way, the longest silent first, 429 ``busy``; who comes waits for a second, then 429"
        " ``busy``."
        " At the bound what would be more is refused, an upload that has begun by 503 ``owner_unavailable``.",
        figures=lambda: [
            Figure(parts.buffers.held, parts.buffers.limit, objects=(parts.buffers,)),
            # Nothing of it can be large, and an operator gets in whatever callers do.
            Figure(parts.admin.buffers.held, of="admin", objects=(parts.admin.buffers,)),
        ],
    )
    yield Part(
        name="connections.outgoing",
        kind=Kind.QUEUE,
        owner="concurrency.outgoing",
        also=("http.site", "oap.factory", "adapters.pool"),
        unit="bytes",
        bound_by="what one turn of the reactor wrote to callers and owners, 64 KiB a connection",
        then="All of it leaves at the beginning of the next turn; what is more, at once.",
    )
    yield Part(
        name="connections.hangup",
        kind=Kind.TIMER,
        owner="concurrency.hangup",
        also=("http.connection", "oap.reader"),
        unit="connections",
        bound_by="one a connection that is not read, every 100 ms",
        then="A caller that has gone is noticed, and what runs for it is cancelled.",
    )
    yield Part(
        name="connections.stall",
        kind=Kind.TIMER,
        owner="concurrency.stall",
        also=("http.connection", "oap.outbox", "concurrency.farewell"),
        unit="connections",
        keys=("timeouts.write_stall", "limits.min_rate"),
        bound_by="one a connection while something waits for its caller",
        then="A caller that took no byte for so long, or less than ``limits.min_rate`` for 30 s, is cut off,"
        " and what runs for it is cancelled.",
    )
    yield Part(
        name="connections.farewell",
        kind=Kind.TIMER,
        owner="concurrency.farewell",
        also=("concurrency.timer",),
        unit="connections",
        bound_by="one a connection that is being closed, for 1 s or 1 MiB of what still comes",
        then="The connection is closed, whether its caller has closed it or not.",
    )


def _http(parts: Assembly) -> Iterator[Part]:
    yield Part(
        name="http.deadlines",
        kind=Kind.TIMER,
        owner="http.channel",
        also=("http.connection", "http.exchanges", "concurrency.timer"),
        unit="connections",
        keys=("timeouts.read", "timeouts.body", "http.idle"),
        bound_by="one a connection: for a head, for a body, or for the next request",
        then="408 ``timeout`` and a close; between requests it is closed without a word.",
        figures=lambda: _http_connections(parts),
    )
    yield Part(
        name="http.input",
        kind=Kind.QUEUE,
        owner="http.channel",
        unit="bytes",
        bound_by="16 KiB and one read of the transport behind a request that runs; 16 KiB of a head",
        then="The connection is not read until the answer is out; a longer head is refused: 431"
        " ``head_too_large``.",
    )
    yield Part(
        name="http.bodies",
        kind=Kind.BUFFER,
        owner="http.framing",
        also=("http.channel",),
        unit="bytes",
        keys=("timeouts.body",),
        bound_by="1 MiB a request, or less where its operation takes less; it is read before the call begins",
        then="413 ``body_too_large``, as soon as its length or a chunk's size says so.",
    )
    yield Part(
        name="http.answers",
        kind=Kind.PRODUCER,
        owner="http.flow",
        also=("http.sink",),
        unit="bytes",
        bound_by="the transport's buffer, 64 KiB, and what its producer had under way when that was full",
        then="The answer's producer is paused until the caller has taken all of it.",
    )
    yield Part(
        name="http.events",
        kind=Kind.PRODUCER,
        owner="http.events",
        also=("concurrency.timer",),
        unit="bytes",
        bound_by="64 KiB of a subscription; a comment every 15 s tells its caller that it lives",
        then="No further message is asked for until there is room for it.",
    )


def _oap(parts: Assembly) -> Iterator[Part]:
    yield Part(
        name="oap.streams",
        kind=Kind.GATE,
        owner="oap.session",
        also=("oap.answers", "oap.stream"),
        unit="streams",
        keys=("limits.max_inflight",),
        bound_by="so many a connection, as HELLO tells; shown are those of all",
        then="A START beyond it is refused: 429 ``busy``. Heads, and cancels of broken answers, wait for a"
        " turn of the reactor at most.",
        figures=lambda: [Figure(int(parts.metrics.oap_streams.value))],
    )
    yield Part(
        name="oap.input",
        kind=Kind.QUEUE,
        owner="oap.pump",
        also=("oap.reader", "oap.wire.decoder"),
        unit="bytes",
        keys=("limits.max_frame",),
        bound_by="one read of the transport, while a body without a window is full or errors wait to be read;"
        " and a frame that has begun",
        then="The connection is not read. A longer frame ends it: ``frame_too_large``.",
    )
    yield Part(
        name="oap.control",
        kind=Kind.QUEUE,
        owner="oap.outbox",
        unit="bytes",
        bound_by="64 KiB of errors and echoes that the caller has not read, and an error of each open stream",
        then="Nothing more is done for the caller until it has read them.",
    )
    yield Part(
        name="oap.answers",
        kind=Kind.PRODUCER,
        owner="oap.waiting",
        also=("oap.outbox", "oap.fairness", "oap.stream"),
        unit="bytes",
        bound_by="32 KiB of a stream and 96 KiB of all streams of a connection, and one read beyond a pause",
        then="The answers' producers are paused; streams have their turns, 16 KiB each.",
    )
    yield Part(
        name="oap.bodies",
        kind=Kind.BUFFER,
        owner="oap.uploads",
        also=("oap.upload",),
        unit="bytes",
        keys=("timeouts.stall", "timeouts.stream_idle"),
        bound_by="128 KiB of a stream and 1 MiB of a connection that its owners have not taken",
        then="With windows the caller gets no CREDIT. Without, the connection is not read, for"
        " ``timeouts.stall`` at most.",
    )
    yield Part(
        name="oap.starving",
        kind=Kind.TIMER,
        owner="oap.starving",
        also=("oap.session", "oap.timers"),
        unit="streams",
        keys=("timeouts.write_stall", "limits.min_rate"),
        bound_by="one a stream whose window is empty, or was for most of 30 s",
        then="The stream ends with ``timeout``.",
    )
    yield Part(
        name="oap.liveness",
        kind=Kind.TIMER,
        owner="oap.liveness",
        also=("oap.timers", "oap.rate"),
        unit="connections",
        keys=("timeouts.handshake", "timeouts.read", "timeouts.idle"),
        bound_by="one a connection and question: HELLO, the rest of a frame, silence, the echo of a PING",
        then="GOAWAY with what was waited for, and a close.",
        figures=lambda: _oap_connections(parts),
    )
    yield Part(
        name="oap.leaving",
        kind=Kind.TIMER,
        owner="oap.leaving",
        unit="connections",
        keys=("drain.grace",),
        bound_by="one a connection of a node that drains, until it has said GOAWAY",
        then="GOAWAY, at the latest with the next call.",
    )
