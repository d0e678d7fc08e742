"""The client of one owner service: bounded, with deadlines, and never a surprise for a facet.

Whatever goes wrong comes out as a NodeError whose message names the owner and nothing of its address,
its bytes or its headers. Connecting moves on to the owner's next URL; a GET or HEAD is sent a second
time where a kept connection turned out to be closed. Nothing else is ever tried again here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import attrs
from twisted.internet import error as net
from twisted.internet.defer import Deferred, fail, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.lease import Lease, root_cause
from micronode.adapters.reply import OwnerReply
from micronode.adapters.small import ask
from micronode.adapters.upload import UploadBody
from micronode.errors import NodeError
from micronode.interfaces import IOwnerClient, IOwnerReply

if TYPE_CHECKING:
    from micronode.observability.metrics import Metrics

_log = Logger()
_REPEATABLE: Final = (b"GET", b"HEAD")
_EMPTY: Final = (204, 304)
#: A probe asks whether the owner lives: an answer slower than this is no answer.
_PROBE_S: Final = 2.0
_PROBE_BYTES: Final = 65_536


@attrs.frozen(kw_only=True)
class OwnerSettings:
    """What may change about an owner while it is called; a call keeps those that it began with."""

    #: One for each URL; calls go round them.
    agents: tuple[OwnerAgent, ...]
    #: Calls at a time. Where more are under way already, it is refused until there are fewer.
    concurrency: int
    #: For one call, up to the response head.
    timeout_s: float
    #: Between two pieces of a response body.
    idle_s: float
    #: How long the owner may take nothing of a request body.
    stall_s: float


@implementer(IOwnerClient)
class OwnerClient:
    """See :class:`~micronode.interfaces.IOwnerClient`.

    Facets hold it for as long as they live; what changes is its :attr:`settings`, as a whole.

    :param agents: and the next four: see :class:`OwnerSettings`.
    :param max_body: bytes of a response body, or None.
    """

    def __init__(
        self,
        name: str,
        agents: Sequence[OwnerAgent],
        *,
        reactor: Any,
        concurrency: int,
        timeout_s: float,
        idle_s: float,
        stall_s: float,
        max_body: int | None,
        metrics: Metrics,
    ) -> None:
        self.name = name
        #: Calls that hold a slot.
        self.inflight = 0
        self.settings = OwnerSettings(
            agents=tuple(agents),
            concurrency=concurrency,
            timeout_s=timeout_s,
            idle_s=idle_s,
            stall_s=stall_s,
        )
        self.max_body = max_body
        self.clock: IReactorTime = reactor
        self.metrics = metrics
        self._turn = 0

    def call(
        self,
        method: bytes,
        path: bytes,
        *,
        query: Sequence[tuple[str, str]] | None = None,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        body: IBodyProducer | None = None,
        deadline_s: float | None = None,
    ) -> Deferred[IOwnerReply]:
        """Make one request; see :class:`~micronode.interfaces.IOwnerClient`."""
        settings = self.settings
        lease = Lease(
            self.name, self.clock, idle_s=settings.idle_s, max_body=self.max_body, released=self._released
        )
        if self.inflight >= settings.concurrency:
            self.metrics.owner_requests(self.name, "unavailable").inc()
            return fail(lease.unavailable("has all the calls it can take"))
        self.inflight += 1
        target = path if not query else path + b"?" + urlencode(query).encode("ascii")
        timeout_s = settings.timeout_s if deadline_s is None else min(deadline_s, settings.timeout_s)
        call = _OwnerCall(self, lease, method, target, headers or (), body, timeout_s)
        call.begin(self._in_turn(settings.agents))
        return call.answered

    def probe(self, path: bytes) -> Deferred[bool]:
        """Whether one of its URLs answers 200; see :class:`~micronode.interfaces.IOwnerClient`."""
        asked = [self._ask(agent, path) for agent in self.settings.agents]
        return gatherResults(asked).addCallbacks(any, lambda _: False)

    def close(self) -> Deferred[None]:
        """Close idle connections; see :class:`~micronode.interfaces.IOwnerClient`."""
        return gatherResults([agent.close() for agent in self.settings.agents]).addCallback(lambda _: None)

    def _ask(self, agent: OwnerAgent, path: bytes) -> Deferred[bool]:
        deadline_s = min(self.settings.timeout_s, _PROBE_S)
        asking = ask(agent, self.clock, path.decode("ascii"), deadline_s=deadline_s, max_bytes=_PROBE_BYTES)
        return asking.addCallbacks(lambda answer: answer[0] == 200, lambda _: False)

    def _in_turn(self, agents: tuple[OwnerAgent, ...]) -> list[OwnerAgent]:
        """Return *agents*, whose turn it is first."""
        turn = self._turn % len(agents)
        self._turn = turn + 1
        return [*agents[turn:], *agents[:turn]]

    def _released(self, outcome: str) -> None:
        self.inflight -= 1
        self.metrics.owner_requests(self.name, outcome).inc()


class _OwnerCall:
    """One call, from taking the slot to the response head."""

    def __init__(
        self,
        client: OwnerClient,
        lease: Lease,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: IBodyProducer | None,
        timeout_s: float,
    ) -> None:
        self._client = client
        self._lease = lease
        self._method = method
        self._target = target
        self._fields = headers
        self._timeout_s = timeout_s
        self._began = client.clock.seconds()
        self._agents: list[OwnerAgent] = []
        self._repeated = False
        stall_s = client.settings.stall_s
        self._body = None if body is None else UploadBody(body, client.clock, stall_s, self._upload_stalled)
        self.answered: Deferred[IOwnerReply] = Deferred(lambda _: lease.abort())

    def begin(self, agents: list[OwnerAgent]) -> None:
        """Send it, trying *agents* in order until one connects."""
        self._agents = agents
        if self._body is None:
            self._start_deadline()
        self._send()

    def _send(self, *, fresh: bool = False) -> None:
        headers = Headers()
        headers.addRawHeader(b"accept-encoding", b"identity")
        for name, value in self._fields:
            headers.addRawHeader(name, value)
        exchange = self._agents[0].exchange(
            self._method, self._target, headers, self._body, fresh=fresh, on_written=self._written
        )
        self._lease.exchange = exchange
        exchange.head.addCallbacks(self._got_head, self._failed)

    def _start_deadline(self) -> None:
        self._lease.watch(self._timeout_s, lambda: self._fail(self._lease.too_slow()))

    def _written(self) -> None:
        if self._body is not None and not self._lease.ended and not self.answered.called:
            # How long an upload took says nothing about the owner.
            self._began = self._client.clock.seconds()
            self._start_deadline()

    def _upload_stalled(self) -> None:
        self._fail(self._lease.unavailable("does not take the request's body"))

    def _got_head(self, response: IResponse) -> None:
        lease, client = self._lease, self._client
        if lease.ended:
            return
        lease.rest()
        client.metrics.owner_latency(client.name).observe(client.clock.seconds() - self._began)
        status = response.code
        if not 200 <= status <= 599:
            self._fail(lease.bad_answer("answered with a status that is none"))
            return
        lease.outcome = "ok" if status < 400 else "client_error" if status < 500 else "server_error"
        empty = self._method == b"HEAD" or status in _EMPTY
        reply = OwnerReply(
            lease, response, empty=empty, mismatches=client.metrics.integrity_failures("relay")
        )
        if not empty and lease.max_body is not None and (reply.length or 0) > lease.max_body:
            self._fail(lease.bad_answer("answered more than it may"))
            return
        self.answered.callback(reply)

    def _failed(self, failure: Failure) -> None:
        lease, exchange = self._lease, self._lease.exchange
        if lease.ended or exchange is None:
            return
        cause = root_cause(failure)
        if not exchange.connected and len(self._agents) > 1:
            self._agents = self._agents[1:]
            self._send()
        elif (
            exchange.reused
            and not self._repeated
            and self._method in _REPEATABLE
            and failure.check(ResponseNeverReceived)
        ):
            self._repeated = True
            self._send(fresh=True)
        else:
            _log.debug(
                "owner_failed", owner=lease.owner, connected=exchange.connected, reason=type(cause).__name__
            )
            self._fail(self._error(cause, connected=exchange.connected))

    def _error(self, cause: BaseException | None, *, connected: bool) -> NodeError:
        lease = self._lease
        if isinstance(cause, NodeError):
            # The request's body failed: whoever produces it knows why.
            return cause
        if connected:
            return lease.bad_answer("closed the connection, or what it answered is not HTTP")
        if isinstance(cause, (net.TimeoutError, net.TCPTimedOutError, net.ConnectingCancelledError)):
            return lease.too_slow()
        return lease.unavailable("cannot be reached")

    def _fail(self, error: NodeError) -> None:
        if not self._lease.ended:
            self._lease.fail(error)
            self.answered.errback(error)
