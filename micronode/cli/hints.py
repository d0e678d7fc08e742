"""What ``micronode dev`` prints: where the node is, and commands to paste."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from micronode.config.schema import FACET_NAMES

#: A package that is always installed, so that the default corpus knows it.
_NODE = "klein"


def program() -> str:
    """Return how to call this program again from the same shell."""
    name = sys.argv[0]
    if os.path.basename(name) != "micronode":
        return f"{shlex.quote(sys.executable)} -m micronode"
    found = shutil.which("micronode")
    if found is not None and os.path.realpath(found) == os.path.realpath(name):
        return "micronode"
    return shlex.quote(name)


def hints(
    addresses: Mapping[str, str],
    owners: Mapping[str, str],
    facets: Collection[str],
    *,
    unused: Mapping[str, str] = MappingProxyType({}),
    own_corpus: bool,
) -> Iterator[str]:
    """Yield the lines.

    :param addresses: of the listeners that are bound, by ``http``, ``admin``, ``oap``.
    :param owners: URLs by name.
    :param unused: URLs of owners that the node does not ask.
    :param facets: those enabled.
    :param own_corpus: the owners serve a folder of the user's, of which no document is known here.
    """
    yield ""
    for name in ("http", "oap", "admin"):
        if name not in addresses:
            continue
        address = addresses[name]
        url = address if address.startswith("unix:") else f"{'oap' if name == 'oap' else 'http'}://{address}"
        yield f"  {name:<8}{url}"
    for name, url in owners.items():
        yield f"  {name:<8}{url}  (owner)"
    for name, url in unused.items():
        yield f"  {name:<8}{url}  (owner, which this node does not ask)"
    yield ""
    yield "Try, in another shell:"
    if "http" in addresses:
        yield from _http(addresses["http"], facets, own_corpus)
    if "oap" in addresses:
        yield from _oap(addresses["oap"], facets, own_corpus)
    yield f"  {_curl(addresses['admin'], '/readyz')}"
    yield ""
    yield "The node ends with its owners. To see what happens when an owner dies, stop this, run them apart,"
    yield "and then kill %1:"
    yield f"  {program()} owners &"
    yield f"  {program()} run --profile dev &"
    yield ""
    yield "Ctrl-C stops the node and the owner services."


def _curl(address: str, path: str) -> str:
    if address.startswith("unix:"):
        socket = shlex.quote(address.removeprefix("unix:"))
        return f"curl --unix-socket {socket} {shlex.quote('http://localhost' + path)}"
    return f"curl {shlex.quote(f'http://{address}{path}')}"


def _http(address: str, facets: Collection[str], own_corpus: bool) -> Iterator[str]:
    if "search" in facets:
        yield f"  {_curl(address, '/app/search?q=reactor')}"
    if "graph" in facets and not own_corpus:
        yield f"  {_curl(address, f'/app/graph/neighbors/{_NODE}')}"
    if "feed" in facets:
        yield f"  {_curl(address, '/app/feed/jobs')} -H 'Idempotency-Key: k1' -d hello"
        # Before recv, which would hold the message for 30 s.
        yield f"  {_curl(address, '/app/feed/jobs/events')} -N"
        yield f"  {_curl(address, '/app/feed/jobs/recv')} -X POST"
    if "media" in facets:
        yield f"  {_curl(address, '/app/media')} --data-binary @FILE"
        yield f"  {_curl(address, '/app/media/CID')}"
    for name in _own(facets):
        yield f"  {_curl(address, f'/app/{name}/')}"


def _own(facets: Collection[str]) -> list[str]:
    """Return which of *facets* the configuration has made."""
    return [name for name in facets if name not in FACET_NAMES]


def _oap(address: str, facets: Collection[str], own_corpus: bool) -> Iterator[str]:
    target = address if address.startswith("unix:") else f"oap://{address}"
    call = f"  {program()} call {shlex.quote(target)}"
    if "search" in facets:
        yield f"""{call} search query --args '{{"q":"reactor"}}'"""
    if "graph" in facets and not own_corpus:
        yield f"""{call} graph neighbors --args '{{"node":"{_NODE}"}}'"""
    if "feed" in facets:
        yield f"""{call} feed subscribe --args '{{"topic":"jobs"}}' --subscribe --ack"""
    if "media" in facets:
        yield f"{call} media put --body FILE"
        yield f"""{call} media get --args '{{"cid":"CID"}}'"""
    for name in _own(facets):
        yield f"""{call} custom call --args '{{"facet":"{name}","method":"GET","path":"/"}}'"""
