"""Asking owner services whether they are ready: ``micronode check --deep``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, FirstError, TimeoutError, gatherResults
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from micronode.adapters.agent import OwnerAgent
from micronode.config.problems import printable
from micronode.config.schema import Config, OwnFacet
from micronode.config.url import OwnerUrl
from micronode.config.used import used_owners
from micronode.security.identity import Identity

#: Characters of a reason; what an owner sent may be in it.
_REASON: Final = 200
_NONE: Final[Mapping[str, Identity]] = {}


async def ask_owners(
    reactor: Any, config: Config, identities: Mapping[str, Identity] = _NONE
) -> dict[str, str]:
    """Ask ``/readyz`` of every URL of the owners in use, and of custom facets' upstreams their health path.

    All at once. Cancelling it stops asking.

    :param identities: with which owners and upstreams are asked over TLS, by the name of owner or facet.

    :return: ``owners.NAME URL`` or ``facets.NAME URL`` -> ``ready``, or ``down:`` and why; within each one's
        timeout. A facet without a health path is not asked.
    """
    used = used_owners(config)
    names = [(f"owners.{name}", url) for name, owner in used.items() for url in owner.url]
    asked = [
        _ask(reactor, url, owner.timeout, identities.get(name))
        for name, owner in used.items()
        for url in owner.url
    ]
    for name, facet in config.facets.items():
        if isinstance(facet, OwnFacet) and facet.enabled and facet.upstream and facet.health:
            names.append((f"facets.{name}", facet.upstream))
            asked.append(
                _ask(reactor, facet.upstream, facet.timeout, identities.get(name), path=facet.health)
            )
    try:
        answers = await gatherResults(asked, consumeErrors=True)
    except FirstError as first:
        # Cancelled: not that an owner is down, which is an answer.
        first.subFailure.raiseException()
    return {f"{name} {url}": text for (name, url), text in zip(names, answers, strict=True)}


def _ask(
    reactor: Any, url: str, timeout_s: float, identity: Identity | None, *, path: str = "/readyz"
) -> Deferred[str]:
    agent = OwnerAgent(
        reactor, OwnerUrl.parse(url), connections=1, connect_timeout_s=timeout_s, identity=identity
    )
    accept = Headers({b"accept": [b"application/json"]})
    exchange = agent.exchange(b"GET", path.encode("ascii"), accept, keep=False)

    def told(answer: IResponse) -> str:
        return "ready" if answer.code == 200 else f"down: it answered {answer.code}"

    def failed(failure: Failure) -> str | Failure:
        if failure.check(CancelledError):
            return failure
        if failure.check(TimeoutError):
            return f"down: no answer within {timeout_s:g} s"
        # Not connected, not found, no certificate, no HTTP: whatever it is, the node would not do better.
        reasons = getattr(failure.value, "reasons", None) or [failure]
        reason = " ".join(str(getattr(reasons[0], "value", reasons[0])).split()).rstrip(".")
        return f"down: {printable(reason[:_REASON]) or type(failure.value).__name__}"

    def over(result: Any) -> Any:
        # Only the status counts; whatever body comes with it is not waited for.
        exchange.abort()
        return result

    exchange.head.addTimeout(timeout_s, reactor)
    return exchange.head.addCallback(told).addErrback(failed).addBoth(over)
