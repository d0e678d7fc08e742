"""Values that are each in order and do not fit together.

Pure: it sees a whole :class:`~micronode.config.schema.Config` and yields every contradiction, each at the
place of the value that has to change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from micronode.config.address import ListenAddress
from micronode.config.members import NEEDED_OWNERS, OWNER_NAMES, Owner, OwnFacet
from micronode.config.problems import Problem
from micronode.config.url import OwnerUrl

if TYPE_CHECKING:
    from micronode.config.schema import Config

_PLANES = ("http", "admin", "oap")


def contradictions(config: Config) -> Iterator[Problem]:
    """Yield what does not fit together in *config*."""
    yield from _listeners(config)
    yield from _limits(config)
    yield from _tls(config)
    yield from _amnesia(config)
    yield from _owners(config)
    yield from _own_facets(config)
    if config.auth.mode == "required" and not config.auth.key_file:
        yield Problem(
            config.place("auth.mode"),
            'auth.mode = "required" without auth.key_file: nobody could call',
            "set auth.key_file to a file of root keys",
        )


def _listeners(config: Config) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for plane in _PLANES:
        listen = getattr(config, plane).listen
        if listen == "off":
            continue
        path = f"{plane}.listen"
        address = ListenAddress.parse_listener(listen)
        if config.auth.mode == "open" and not address.is_local:
            yield Problem(
                config.place(path),
                f'{path} = "{listen}" is not loopback, and with auth.mode = "open" anyone could call',
                f'use "127.0.0.1:{address.port}", "[::1]:{address.port}" or "unix:/path"',
            )
        if (address.path or address.name or address.port) and taken.setdefault(listen, path) != path:
            # Of the two that one is to blame that somebody wrote.
            here, there = path, taken[listen]
            if path not in config.sources:
                here, there = there, here
            yield Problem(
                config.place(here),
                f'{here} = "{listen}" is the address of {there} too',
                "give each listener its own",
            )


def _limits(config: Config) -> Iterator[Problem]:
    limits = config.limits
    # The default chunk is cut to the frame; one that was asked for would silently be another.
    if "limits.max_chunk" in config.sources and limits.max_chunk > limits.max_frame:
        yield Problem(
            config.place("limits.max_chunk"),
            f"limits.max_chunk = {limits.max_chunk} is larger than limits.max_frame = {limits.max_frame}",
            "lower it, or raise limits.max_frame (1MiB at most)",
        )


def _tls(config: Config) -> Iterator[Problem]:
    tls = config.tls
    pair = {"tls.certificate": tls.certificate, "tls.private_key": tls.private_key}
    missing = [path for path, name in pair.items() if not name]
    for plane in _PLANES:
        if getattr(config, plane).tls and missing:
            yield Problem(
                config.place(f"{plane}.tls"),
                f"{plane}.tls = true without {' and '.join(missing)}",
                f"set {' and '.join(missing)}, or {plane}.tls = false",
            )
    if len(missing) == 1:
        (there,) = set(pair) - set(missing)
        yield Problem(config.place(there), f"{there} without {missing[0]}", "they are set as a pair")
    if tls.client_allow and not tls.client_ca:
        yield Problem(
            config.place("tls.client_allow"),
            "tls.client_allow without tls.client_ca: no certificate could be checked",
            "set tls.client_ca, or remove tls.client_allow",
        )


def _amnesia(config: Config) -> Iterator[Problem]:
    if config.amnesia.enabled and config.persistence.dir:
        yield Problem(
            config.place("persistence.dir"),
            "persistence.dir is set while amnesia.enabled = true: one keeps nothing, the other does",
            "remove persistence.dir, or set amnesia.enabled = false",
        )
    if not config.amnesia.enabled and config.amnesia.require != "none":
        yield Problem(
            config.place("amnesia.require"),
            f'amnesia.require = "{config.amnesia.require}" while amnesia.enabled = false',
            'set amnesia.enabled = true, or amnesia.require = "none"',
        )


def _owners(config: Config) -> Iterator[Problem]:
    for name, owner in config.owners.items():
        path = f"owners.{name}"
        if name in NEEDED_OWNERS and not owner.url:
            yield Problem(config.place(f"{path}.url"), f"{path}.url names no URL", "give it one")
        yield from _tls_files(config, path, owner, "url", owner.url)


def _tls_files(
    config: Config, path: str, section: Owner | OwnFacet, where: str, urls: Sequence[str]
) -> Iterator[Problem]:
    """Yield what does not fit together of what *section* says of TLS to *urls*, which its key *where* has."""
    files = {name: getattr(section, name) for name in ("ca", "certificate", "private_key")}
    if not any(OwnerUrl.parse(url).tls for url in urls):
        for name in [name for name, file in files.items() if file]:
            yield Problem(
                config.place(f"{path}.{name}"),
                f"{path}.{name} is set, but no URL of {path}.{where} begins with https://",
                f"connect by https://, or remove {name}",
            )
    elif bool(section.certificate) != bool(section.private_key):
        there, missing = sorted(("certificate", "private_key"), key=lambda name: not files[name])
        yield Problem(
            config.place(f"{path}.{there}"),
            f"{path}.{there} without {path}.{missing}",
            "they are set as a pair",
        )


def _own_facets(config: Config) -> Iterator[Problem]:
    for name, facet in config.facets.items():
        if not isinstance(facet, OwnFacet):
            continue
        path = f"facets.{name}"
        yield from _tls_files(config, path, facet, "upstream", [facet.upstream] if facet.upstream else [])
        if facet.kind == "proxy" and not facet.upstream:
            yield Problem(
                config.place(f"{path}.kind"), f"{path} is a proxy without upstream", "set its upstream"
            )
        if facet.kind == "echo" and facet.upstream:
            yield Problem(
                config.place(f"{path}.upstream"),
                f"{path} has an upstream, but an echo answers by itself",
                'remove upstream, or set kind = "proxy"',
            )
        if facet.kind == "echo" and facet.health:
            yield Problem(
                config.place(f"{path}.health"),
                f"{path} has a health path, but an echo has no upstream to ask",
                'remove health, or set kind = "proxy"',
            )
        if not facet.routes:
            yield Problem(
                config.place(f"{path}.kind"),
                f"{path} has no routes, so nothing reaches it",
                'set routes = [{method = "GET", path = "/{rest}", access = "read"}]',
            )
        if name in OWNER_NAMES:
            yield Problem(
                config.place(f"{path}.kind"),
                f"{path} has the name of an owner, so nobody could tell their metrics apart",
                f"call it {name}_api, or anything else",
            )
        for number, route in enumerate(facet.routes):
            if first := next((each for each in facet.routes[:number] if each.covers(route)), None):
                yield Problem(
                    config.place(f"{path}.routes"),
                    f'{path}.routes: "{route}" is never reached, since "{first}" stands before it',
                    "let the narrower one stand first, or remove it",
                )
