"""The client of one owner service: bounded, with deadlines, and never a surprise for a facet.

Whatever goes wrong comes out as a NodeError whose message names the owner and nothing of its address,
its bytes or its headers. What one call goes through is :mod:`micronode.adapters.ownercall`'s; here is what
all calls share: the endpoints, the permits, the budget of retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode.adapters.attempt import Request
from micronode.adapters.breaker import Pass
from micronode.adapters.budget import RetryBudget
from micronode.adapters.endpoints import Endpoint, Health
from micronode.adapters.lease import too_slow
from micronode.adapters.ownercall import OwnerCall
from micronode.adapters.permits import Permits
from micronode.adapters.pool import TooManyConnectionsError
from micronode.adapters.settings import OwnerSettings
from micronode.adapters.small import ask
from micronode.adapters.timeleft import TimeLeft
from micronode.concurrency.alarms import Alarms
from micronode.interfaces import IOwnerClient, IOwnerReply

if TYPE_CHECKING:
    from micronode.observability.metrics import Metrics
    from micronode.observability.series import Counter, Histogram

_log = Logger()
_REPEATABLE: Final = (b"GET", b"HEAD")
#: A probe asks whether the owner lives: an answer slower than this is no answer.
_PROBE_S: Final = 2.0
_PROBE_BYTES: Final = 65_536


@implementer(IOwnerClient)
class OwnerClient:
    """See :class:`~micronode.interfaces.IOwnerClient`.

    Facets hold it for as long as they live; what changes is its :attr:`settings`, as a whole.

    :param max_body: bytes of a response body, or None.
    :param random: picks endpoints, and spreads retries.
    """

    def __init__(
        self,
        name: str,
        settings: OwnerSettings,
        *,
        reactor: Any,
        max_body: int | None,
        metrics: Metrics,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.max_body = max_body
        self.clock: IReactorTime = reactor
        self.metrics = metrics
        self.random = random or Random()  # noqa: S311  # nothing secret depends on it
        self.alarms = Alarms(self.clock)
        self.permits = Permits(self.clock, settings.concurrency, settings.queue)
        self.budget = RetryBudget(self.clock.seconds)
        self._settings = settings
        self._watched = True
        self._used = True
        self._shown_open = False

    @property
    def settings(self) -> OwnerSettings:
        """What holds for calls that begin now."""
        return self._settings

    @settings.setter
    def settings(self, settings: OwnerSettings) -> None:
        self._settings = settings
        self.permits.resize(settings.concurrency, settings.queue)
        self._show_breaker()

    @cached_property
    def latency(self) -> Histogram:
        """How long its answers take to their heads."""
        return self.metrics.owner_latency(self.name)

    @cached_property
    def mismatches(self) -> Counter:
        """How many bodies did not match their digests."""
        return self.metrics.integrity_failures("relay")

    @property
    def inflight(self) -> int:
        """Calls that hold a permit."""
        return self.permits.in_use

    @property
    def healthy(self) -> int:
        """How many endpoints are well: their health checks, if any, succeed, and so do their calls."""
        endpoints = self._settings.endpoints
        return sum(each.is_well if self._watched else each.serves for each in endpoints)

    def call(
        self,
        method: bytes,
        path: bytes,
        *,
        query: Sequence[tuple[str, str]] | None = None,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        body: IBodyProducer | bytes | None = None,
        idempotent: bool | None = None,
        deadline_s: float | None = None,
        caller_s: float | None = None,
        wait_s: float = 0.0,
    ) -> Deferred[IOwnerReply]:
        """Make one request; see :class:`~micronode.interfaces.IOwnerClient`."""
        settings = self._settings
        request = Request(
            method=method,
            target=path if not query else path + b"?" + urlencode(query).encode("ascii"),
            headers=headers or (),
            body=body,
            repeatable=(body is None or isinstance(body, bytes))
            and (method in _REPEATABLE if idempotent is None else idempotent),
        )
        time_left = TimeLeft(self.clock, settings.timeout_s, deadline_s, caller_s, wait_s)
        if time_left.given_s <= 0:
            # The owner might do it, and nobody would hear of that.
            self.count("timeout")
            return fail(too_slow(self.name))
        call = OwnerCall(self, settings, request, time_left)
        answered = call.answered
        assert answered is not None
        if self.permits.try_acquire():
            call.begin()
        else:
            call.begin_after(self.permits.wait_for(min(settings.wait_s, time_left.given_s)))
        return answered

    def probe(self, path: bytes) -> Deferred[str]:
        """Ask each endpoint how it is; see :class:`~micronode.interfaces.IOwnerClient`."""
        endpoints = self._settings.endpoints
        asked = [self._ask(endpoint, path) for endpoint in endpoints]

        def state(_: object) -> str:
            if not any(endpoint.health is Health.UP for endpoint in endpoints):
                return "down"
            return "ok" if all(endpoint.is_well for endpoint in endpoints) else "degraded"

        return gatherResults(asked, consumeErrors=True).addBoth(state)

    def use(self, used: bool) -> None:
        """Tell whether the configuration has a use for it; what has none is not shown as failing."""
        self._used = used
        self._show_breaker()

    def watch(self, watched: bool) -> None:
        """Tell whether there are probes; where there are none, what an earlier one has heard is forgotten."""
        self._watched = watched
        if not watched:
            for endpoint in self._settings.endpoints:
                endpoint.health = Health.UNKNOWN

    def close(self) -> Deferred[None]:
        """Close idle connections; see :class:`~micronode.interfaces.IOwnerClient`."""
        closing = [agent.close() for agent in self._settings.agents]
        return gatherResults(closing).addCallback(lambda _: None)

    def _ask(self, endpoint: Endpoint, path: bytes) -> Deferred[None]:
        deadline_s = min(self._settings.timeout_s, _PROBE_S)
        asking = ask(
            endpoint.agent, self.clock, path.decode("ascii"), deadline_s=deadline_s, max_bytes=_PROBE_BYTES
        )

        def heard(answer: tuple[int, bytes]) -> None:
            endpoint.health = Health.UP if answer[0] == 200 else Health.DOWN

        def failed(failure: Failure) -> None:
            # That the node has too many connections, after a reload, is no word about the endpoint.
            if failure.check(CancelledError, TooManyConnectionsError) is None:
                endpoint.health = Health.DOWN

        return asking.addCallbacks(heard, failed)

    # For its calls

    def ended(self, outcome: str) -> None:
        """A call that had a permit has ended: it is given back."""
        self.permits.release()
        self.count(outcome)

    def count(self, outcome: str) -> None:
        """A call has ended, or was not even begun."""
        self.metrics.owner_requests(self.name, outcome).inc()

    def answered(self, endpoint: Endpoint, entered: Pass) -> None:
        """A call of *endpoint* got the head of a good answer."""
        was = endpoint.breaker.is_closed
        endpoint.breaker.answered(entered)
        if endpoint.breaker.is_closed != was:
            self._tell_breaker(endpoint)

    def judge(self, endpoint: Endpoint, entered: Pass, well: bool | None) -> None:
        """Tell how a call of *endpoint* went; see :meth:`~micronode.adapters.endpoints.Endpoint.judge`."""
        was = endpoint.breaker.is_closed
        ejected_s = endpoint.judge(entered, well, self._settings.endpoints)
        if endpoint.breaker.is_closed != was:
            self._tell_breaker(endpoint)
        if ejected_s is not None:
            url = str(endpoint.agent.url)
            _log.warn("owner_endpoint_ejected", owner=self.name, endpoint=url, seconds=ejected_s)

    def _tell_breaker(self, endpoint: Endpoint) -> None:
        is_closed = endpoint.breaker.is_closed
        log = _log.info if is_closed else _log.warn
        reason = "closed" if is_closed else "opened"
        log("owner_breaker", owner=self.name, endpoint=str(endpoint.agent.url), reason=reason)
        self._show_breaker()

    def _show_breaker(self) -> None:
        """Show whether no endpoint takes calls as they come."""
        endpoints = self._settings.endpoints
        is_open = bool(self._used and endpoints) and not any(
            endpoint.breaker.is_closed for endpoint in endpoints
        )
        if is_open != self._shown_open:
            self._shown_open = is_open
            # Not set: it may be the one that owners without a series of their own share.
            gauge = self.metrics.owner_breaker_open(self.name)
            (gauge.inc if is_open else gauge.dec)()
