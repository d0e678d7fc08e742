"""Custom facets as a configuration describes them, built; a part of :mod:`micronode.assembly`."""

from __future__ import annotations

from collections.abc import Container, Mapping

from micronode.adapters.upstream import UpstreamClient
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import Config, Owner, OwnFacet
from micronode.facets.custom import CustomFacet, Forwarding, echo
from micronode.interfaces import IOwnerClient


def own_facets(config: Config, taken: Container[str]) -> dict[str, OwnFacet]:
    """Return the custom facets that are switched on, by name.

    :param taken: the names of the host program's facets.
    :raises ConfigError: one of them has such a name.
    """
    own = {
        name: facet for name, facet in config.facets.items() if isinstance(facet, OwnFacet) and facet.enabled
    }
    problems = [
        Problem(
            config.place(f"facets.{name}.kind"),
            f"facets.{name} has the name of a facet that the host program brings along",
            "give it another name",
        )
        for name in own
        if name in taken
    ]
    if problems:
        raise ConfigError(problems)
    return own


def upstreams(facets: Mapping[str, OwnFacet]) -> dict[str, Owner]:
    """Return the upstreams of those of *facets* that are proxies, as the owners that they are.

    Each has the bounds of its facet: as many calls, and as long.
    """
    return {
        name: Owner(
            url=(facet.upstream,),
            timeout=facet.timeout,
            concurrency=facet.limit,
            ca=facet.ca,
            certificate=facet.certificate,
            private_key=facet.private_key,
        )
        for name, facet in facets.items()
        if facet.kind == "proxy"
    }


def make_custom(name: str, facet: OwnFacet, upstream: IOwnerClient | None) -> CustomFacet:
    """Build the custom facet *name*.

    :param upstream: None where it is an echo.
    """
    answer = echo if upstream is None else Forwarding(UpstreamClient(upstream, deadline_s=facet.timeout))
    return CustomFacet(name, facet.routes, answer, pass_headers=facet.pass_headers, max_body=facet.max_body)
