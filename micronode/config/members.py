"""The table of keys, third part: sections with one member a name, owners and facets."""

from __future__ import annotations

from typing import Final

import attrs

from micronode.config.fields import OTHERS, choice, duration, file, integer, key, size
from micronode.config.kinds import Kind, Route

OWNER_NAMES: Final = ("index", "mailbox", "storage", "overlay", "policy")
#: Those that the node has a use for in this release.
BUILT_OWNERS: Final = OWNER_NAMES
#: Those of them that have to be somewhere.
NEEDED_OWNERS: Final = ("index", "mailbox", "storage")
FACET_NAMES: Final = ("graph", "search", "feed", "media")
BUILT_FACETS: Final = ("graph", "search", "feed", "media")
#: The name, in the table, of facets that a configuration makes by giving them a ``kind``.
OWN: Final = "NAME"

_OWNERS: Final = frozenset(BUILT_OWNERS)
_FACETS: Final = frozenset((*BUILT_FACETS, OWN))


@attrs.frozen(kw_only=True)
class Owner:
    """One owner service. The defaults are where ``micronode owners`` listens."""

    url: tuple[str, ...] = key(
        Kind.URLS,
        "Where it listens: one URL or a list.",
        {
            "index": ("http://127.0.0.1:5321",),
            "mailbox": ("http://127.0.0.1:5322",),
            "storage": ("http://127.0.0.1:5323",),
            "overlay": (),
            "policy": (),
        },
        built=_OWNERS,
        optional=frozenset(OWNER_NAMES) - frozenset(NEEDED_OWNERS),
    )
    timeout: float = duration("For one attempt, up to the response head.", 5.0, maximum=3600.0, built=_OWNERS)
    concurrency: int = integer(
        "Calls it gets at a time, of all facets that ask it; one more is refused with 503"
        " ``owner_unavailable``, also where the facets' limits are larger.",
        64,
        built=_OWNERS,
    )
    ca: str = file(
        "PEM file of the authorities that its certificate may be from; the system's where it is empty.",
        built=_OWNERS,
    )
    certificate: str = file("PEM file of the certificate that the node shows, and its chain.", built=_OWNERS)
    private_key: str = file(
        "PEM file of that certificate's key; not readable by everybody, nor encrypted.", built=_OWNERS
    )
    fail: str = choice(
        "What is refused while it gives no answer: everything, writes, nothing.",
        *("closed", "reads-open", "open"),
        default="closed",
        only=("policy",),
    )


@attrs.frozen(kw_only=True)
class Facet:
    """One facet."""

    enabled: bool = key(
        Kind.BOOLEAN,
        "Whether it is served.",
        {"graph": True, "search": True, "feed": True, "media": False, OTHERS: True},
        built=_FACETS,
    )
    limit: int = integer(
        "Calls it serves at a time; one more is refused with 429.",
        {"graph": 128, "search": 96, "feed": 64, "media": 32, OTHERS: 64},
        built=_FACETS,
    )
    queue: int = integer(
        "Calls that may wait for their turn beyond its limit, in order and for half of their time at most.",
        0,
        minimum=0,
        built=_FACETS,
    )
    timeout: float = duration(
        "From dispatch to the response head; begins anew when an upload has been passed on.",
        5.0,
        maximum=3600.0,
        built=_FACETS,
    )
    subscriptions: int = integer(
        "Subscriptions it serves at a time; one more is refused with 429.", 1024, minimum=0, only=("feed",)
    )


@attrs.frozen(kw_only=True)
class OwnFacet(Facet):
    """A facet that the user's configuration makes: ``[facets.NAME]`` with a ``kind``."""

    kind: str = key(
        Kind.CHOICE,
        "What it does: pass calls on to its upstream, or answer with what was sent (for development).",
        {OWN: "proxy"},
        choices=("proxy", "echo"),
        required=True,
    )
    upstream: str = key(
        Kind.UPSTREAM, "Where the calls of a proxy go; it has no path of its own.", "", optional=True
    )
    routes: tuple[Route, ...] = key(
        Kind.ROUTES,
        "Which calls it takes, and whether they read or write; the first that fits counts."
        " {name} is one segment, a last {rest} everything.",
        (),
        optional=True,
    )
    health: str = key(
        Kind.WEB_PATH,
        "Path at which its upstream is asked for its health; empty: it is not asked.",
        "",
        optional=True,
    )
    ca: str = file(
        "PEM file of the authorities that its upstream's certificate may be from; the system's where empty."
    )
    certificate: str = file("PEM file of the certificate that its upstream is shown, and its chain.")
    private_key: str = file("PEM file of that certificate's key; not readable by everybody, nor encrypted.")
    pass_headers: tuple[str, ...] = key(
        Kind.WORDS,
        "Fields of a caller that its upstream gets although they are secrets.",
        (),
        choices=("authorization", "cookie"),
        optional=True,
    )
    max_body: int = size(
        "Longest request body; over HTTP at most 1 MiB.", 1024**2, minimum=0, maximum=1024**3
    )
