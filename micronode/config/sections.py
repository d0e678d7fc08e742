"""The table of keys, first part: the planes, their bounds, and the node as a whole.

Each class is a section, each field a row: kind, doc, unit, default, range, whether it reloads, and
whether what it configures exists yet (:func:`~micronode.config.fields.not_built`).

(Longer than most modules because it is a table.)
"""

from __future__ import annotations

import attrs

from micronode.config.fields import (
    choice,
    duration,
    file,
    integer,
    key,
    listen,
    not_built,
    size,
)
from micronode.config.kinds import Kind
from micronode.oap.wire import limits as wire

#: The names by which a caller on this machine reaches a loopback listener.
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def _tls(plane: str) -> bool:
    field: bool = not_built(
        key, Kind.BOOLEAN, f"Whether {plane} is served over TLS; needs [tls].", False, reload="restart"
    )
    return field


def _hosts(doc: str) -> tuple[str, ...]:
    field: tuple[str, ...] = not_built(key, Kind.HOSTS, doc, LOOPBACK_NAMES, optional=True)
    return field


def _proxies(doc: str) -> tuple[str, ...]:
    field: tuple[str, ...] = not_built(key, Kind.NETWORKS, doc, (), optional=True)
    return field


@attrs.frozen(kw_only=True)
class Node:
    """The node as a whole."""

    profile: str = choice(
        "Named set of defaults that the node starts from.", "none", "dev", default="none", flag="profile"
    )
    workers: int = not_built(integer, "Processes that share the listeners.", 1, maximum=64, reload="restart")


@attrs.frozen(kw_only=True)
class Http:
    """The HTTP application plane."""

    listen: str = listen("Where HTTP callers connect.", "127.0.0.1:5310", flag="http")
    tls: bool = _tls("HTTP")
    hosts: tuple[str, ...] = _hosts("Host names under which callers may ask; others are answered 421.")
    trusted_proxies: tuple[str, ...] = _proxies("Networks whose forwarded headers are believed.")
    idle: float = duration("How long a connection may wait for its next request.", 75.0)


@attrs.frozen(kw_only=True)
class Admin:
    """The admin plane: health, readiness, version, metrics."""

    listen: str = listen(
        "Where operators and probes connect; closes last.", "127.0.0.1:5311", may_be_off=False, flag="admin"
    )
    tls: bool = _tls("the admin plane")
    hosts: tuple[str, ...] = _hosts("Host names under which operators may ask; others are answered 421.")
    trusted_proxies: tuple[str, ...] = _proxies("Networks whose forwarded headers are believed.")


@attrs.frozen(kw_only=True)
class Oap:
    """The OAP/1 plane."""

    listen: str = listen("Where OAP/1 callers connect.", "127.0.0.1:5312", flag="oap")
    tls: bool = _tls("OAP/1")
    hosts: tuple[str, ...] = _hosts("Server names that callers over TLS may ask for.")
    trusted_proxies: tuple[str, ...] = _proxies("Networks whose PROXY protocol headers are believed.")


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what callers can make the node hold."""

    max_frame: int = size(
        "Largest OAP frame, header included; may only be lowered.",
        wire.MAX_FRAME_BYTES,
        minimum=wire.MIN_MAX_FRAME_BYTES,
        maximum=wire.MAX_FRAME_BYTES,
    )
    # Below 64 bytes a chunk would be smaller than its own frame header and trailer of bookkeeping.
    max_chunk: int = size(
        "Largest payload of an OAP body frame; may only be lowered.",
        wire.MAX_CHUNK_BYTES,
        minimum=64,
        maximum=wire.MAX_CHUNK_BYTES,
    )
    decompress_ratio: int = integer(
        "How many times its size what a caller sends compressed may become, above 4096 bytes; may only be"
        " lowered.",
        wire.DECOMPRESS_RATIO,
        maximum=wire.DECOMPRESS_RATIO,
    )
    max_inflight: int = integer("Open streams an OAP connection may have.", wire.MAX_INFLIGHT, maximum=4096)
    max_calls: int = integer(
        "Calls the node serves at a time, of all facets; one more is refused with 429.", 512
    )
    max_connections: int = integer(
        "Connections of a listener; at 90 % idle ones are closed, at the bound no more are accepted.",
        1024,
        maximum=1_048_576,
    )
    per_address: int = integer(
        "Connections of a listener from one address (IPv6: from one /64); 0 for no bound.",
        0,
        minimum=0,
        maximum=1_048_576,
    )
    max_handshakes: int = integer(
        "Connections of a listener that have sent no whole HELLO, over HTTP no whole head; one more and the"
        " oldest goes.",
        256,
    )
    max_object: int = size("Largest object put over OAP.", 1024**3)
    buffers: int = size(
        "Memory held for connections and bodies, all together; at 80 % nothing new is begun, bodies that do"
        " not come on make way, and what comes is refused with 429. An answer that is passed on counts"
        " 192 KiB.",
        256 * 1024**2,
        minimum=16 * 1024**2,
    )
    rps: int = integer(
        "Calls a second from one caller, so many of them at once; one more is refused with 429. A caller is"
        " an address (IPv6: a /64), or a user of a Unix socket. 0 for no bound.",
        0,
        minimum=0,
        maximum=1_000_000,
    )
    min_rate: int = size(
        "Bytes a second below which an answer that is read so slowly for 30 s is given up; 0 for none.",
        1024,
        minimum=0,
        maximum=1024**2,
    )


@attrs.frozen(kw_only=True)
class Timeouts:
    """How slow a caller may be, and an owner once its answer or an upload has begun."""

    handshake: float = duration("From connecting to a whole HELLO (OAP).", 10.0)
    read: float = duration("For a whole HTTP head, or a whole OAP frame once begun.", 5.0)
    body: float = duration("For an HTTP request body, plus 1 s for each 64 KiB of it.", 10.0)
    idle: float = duration(
        "Silence after which an OAP connection without streams is closed; and the longest gap in an"
        " owner's answer.",
        60.0,
    )
    stall: float = duration(
        "How long one stream may keep its OAP connection from being read; and how long an owner may take"
        " nothing of an upload.",
        5.0,
    )
    stream_idle: float = duration("Longest gap between the frames of an open request body (OAP).", 30.0)
    write_stall: float = duration(
        "How long a caller may accept no byte of its response. Seen as TCP shows it: one that reads less "
        "than a window step (about 64 KiB on loopback) in that time counts as one that does not.",
        30.0,
    )


@attrs.frozen(kw_only=True)
class Overload:
    """When the node itself is sick; thresholds of 0 watch nothing."""

    lag: float = duration(
        "Delay of the event loop from which writes are shed; reads, too, at twice that or after 3 s.",
        0.0,
        minimum=0.0,
        maximum=60.0,
    )
    rss: int = size(
        "Memory of the process from which writes are shed; reads, too, at 1.1 times that or after 3 s.",
        0,
        minimum=0,
    )
    unready_after: float = duration(
        "Overload that lasted so long, give or take 20 %, makes the node not ready.", 10.0, maximum=3600.0
    )


@attrs.frozen(kw_only=True)
class Drain:
    """Stopping."""

    grace: float = duration(
        "From not ready to closed listeners; answers say Connection: close, GOAWAY is spread over it.",
        10.0,
        minimum=0.0,
        maximum=3600.0,
    )
    deadline: float = duration("For calls in flight to finish after that.", 5.0, minimum=0.0, maximum=3600.0)


@attrs.frozen(kw_only=True)
class Log:
    """The log on standard error."""

    level: str = choice(
        "Least severe line that is written.",
        *("debug", "info", "warning", "error"),
        default="info",
        flag="log-level",
    )
    format: str = choice(
        "json: one object a line; console: for people; auto: console on a terminal, else json.",
        *("auto", "json", "console"),
        default="auto",
        reload="restart",
    )
    peer: str = not_built(
        choice,
        "How much of a caller's address is logged: all, its network, nothing.",
        *("full", "net", "none"),
        default="full",
    )
    file_ok: bool = not_built(
        key,
        Kind.BOOLEAN,
        "Whether the log may go to a file although amnesia is on.",
        False,
        reload="restart",
        # Nothing is refused yet either way.
        inert=(False, True),
    )


@attrs.frozen(kw_only=True)
class Uds:
    """Unix sockets."""

    path: str = not_built(file, "Folder in which Unix sockets are made.", reload="restart")
    allow_uids: tuple[int, ...] = not_built(
        key, Kind.UIDS, "Users whose processes may connect to Unix sockets.", (), optional=True
    )
