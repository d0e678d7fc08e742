"""Which problems of a configuration are told, in which order, and what is none of a single value."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from micronode.config.documents import Document
from micronode.config.problems import Problem
from micronode.config.schema import FACET_NAMES, KEYS, Config

_FITTING: Final = "url|kind|upstream|routes|health|ca|certificate|private_key"
#: How the problem of a value of an owner or facet begins that others have to fit, or whose key is misspelt.
_MEMBER: Final = re.compile(
    rf"((?:owners|facets)\.[a-z0-9_]+)\.(?:{_FITTING})[ :,]"
    rf"|unknown key .* in \[((?:owners|facets)\.[a-z0-9_]+)\] \(did you mean (?:{_FITTING})\?\)"
)


def certain(problems: Iterable[Problem], refused: Iterable[Problem]) -> Iterator[Problem]:
    """Yield those *problems* that are none of an owner or facet of which a value is *refused* already.

    What is refused, or stands under a misspelt key, is not there: to be told that it is missing would be
    wrong.
    """
    members = tuple(
        f"{found[1] or found[2]}{end}"
        for each in refused
        if (found := _MEMBER.match(each.what))
        for end in " ."
    )
    yield from (problem for problem in problems if not problem.what.startswith(members))


def in_order(problems: Iterable[Problem], documents: Iterable[Document]) -> list[Problem]:
    """Return *problems* as the files' lines stand, those of other places behind them as they came."""
    files = {document.name: number for number, document in reversed(list(enumerate(documents)))}

    def position(problem: Problem) -> tuple[int, int]:
        name, _, line = problem.where.rpartition(":")
        return (files[name], int(line)) if name in files and line.isdecimal() else (len(files), 0)

    return sorted(problems, key=position)


def nothing_served(config: Config) -> Iterable[Problem]:
    """Refuse a node that would come up, say it is ready, and serve nothing, or nobody.

    Only where it is to be run by us: a program that embeds a node may have its reasons.
    """
    if config.http.listen == config.oap.listen == "off":
        origins = dict.fromkeys(config.place(f"{plane}.listen") for plane in ("http", "oap"))
        yield Problem(
            ", ".join(origins),
            "http.listen and oap.listen are both off, so nobody could call",
            f"let one of them listen (as in --http {KEYS['http.listen'].default})",
        )
    if any(facet.enabled for facet in config.facets.values()):
        return
    served = [
        name for name in config.facets if name not in FACET_NAMES or KEYS[f"facets.{name}.enabled"].built
    ]
    paths = [f"facets.{name}.enabled" for name in served]
    origins = dict.fromkeys(config.sources[path] for path in paths if path in config.sources)
    fix = f"enable at least one of {', '.join(served)} (as in --facets {','.join(served)})"
    yield Problem(", ".join(origins), "no facet is enabled to serve anything", fix)
