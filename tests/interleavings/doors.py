"""A world with both doors: HTTP and OAP/1 connections in memory, the dispatcher behind them, and the drain.

The doors, the dispatcher, the drain and what it does to them are the node's own; sockets, owners and the
admin plane are not there. What a caller was sent is read when all is over: each call that was asked has one
answer, or its caller has gone, or its connection was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import attrs
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Access, Argument, Operation
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.shutdown import END_S, Drain, Phase
from micronode.concurrency.timer import EPSILON_S
from micronode.config.schema import Limits, Timeouts
from micronode.draining import Draining
from micronode.errors import ErrorCode, NodeError
from micronode.http.site import HttpSite, app_settings
from micronode.interfaces import IResponseSink
from micronode.oap.factory import OAPFactory
from micronode.oap.wire.frames import ACK_REQ
from micronode.observability.metrics import Metrics
from tests.http.test_events import read_stream
from tests.interleavings.calls import DEADLINE_S, GRACE_S, MAX_STEPS, TIMEOUT_S, lie
from tests.support.oap import MemoryTransport, cancel, hello, read_frames, start

PROFILE: Final = 0x0402
_CODE: Final = re.compile(rb'"code":"(\w+)"')
_HEAD: Final = ResponseHead(status=200, content_type="application/json", length=0)
_REPLY: Final = Reply(head=_HEAD)
_HEAD_OF_EVENTS: Final = ResponseHead(content_type="application/json")


def _operation(op: str, **fields: Any) -> Operation:
    return Operation(
        name=f"echo.{op}",
        facet="echo",
        method="GET",
        path=f"/app/echo/{op}",
        profile=PROFILE,
        op=op,
        access=Access.READ,
        arguments=(Argument(name="name", required=True),),
        handler=lambda call: _Now.world.handle(call),
        **fields,
    )


#: These take a hundred times as long to make as a world; what they count comes back to what it was.
_TABLE: Final = OperationTable([_operation("say"), _operation("listen", subscribes=True)])
_METRICS: Final = Metrics(facets=("echo",), owners=(), states=(), build={"version": "0"})
_METRICS.add_routes(["echo.say", "echo.listen"])


#: When no call is taken any more.
_REFUSING: Final = (Phase.ABORTING, Phase.RELEASING, Phase.LEAVING, Phase.STOPPED)


class _Now:
    """Stands in for the dispatcher of the one world there is at a time, in the routes that all share."""

    world: Doors
    table = _TABLE

    @staticmethod
    def dispatch(call: Call, sink: IResponseSink) -> Deferred[None]:
        return _Now.world.dispatcher.dispatch(call, sink)

    @staticmethod
    def turn_away(operation: Operation, origin: str) -> NodeError | None:
        return _Now.world.dispatcher.turn_away(operation, origin)


_SETTINGS: Final = app_settings(_Now(), _TABLE, timeouts=Timeouts(), idle_s=75.0)
_LIMITS: Final = Limits()
_TIMEOUTS: Final = Timeouts()
#: What callers send: made once.
_HELLO: Final = hello()
_STARTS: Final = {
    (number, op): start(number, PROFILE, op, {"name": f"o{number}"}, flags=flags)
    for number in range(1, 4)
    for op, flags in (("say", 0), ("listen", ACK_REQ))
}
_CANCELS: Final = {number: cancel(number, PROFILE) for number, _ in _STARTS}


class _Dispatcher(Dispatcher):
    """Notes which calls it has, by name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(_TABLE, metrics=_METRICS, **settings)
        self.asked: list[str] = []
        self.over: set[str] = set()

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        name = call.args["name"]
        self.asked.append(name)
        running = super().dispatch(call, sink)

        def ended(result: object) -> None:
            if result is not None or name in self.over:
                _Now.world.wrong.append(f"{name} ended with {result}, or twice")
            self.over.add(name)

        running.addBoth(ended)
        return running


class Socket(MemoryTransport, FileDescriptor):
    """A transport in memory that takes bytes past its buffers, as one of the reactor's does.

    What one turn of the reactor wrote so leaves in the next.
    """

    def __init__(self, clock: Clock) -> None:
        MemoryTransport.__init__(self, clock)

    def writeSomeData(self, data: bytes) -> int:
        """Take all of it."""
        assert not self.lost, "a write after the end"
        self.write(data)
        return len(data)


class Connection:
    """A connection to one of the doors.

    :ivar asks: the names of the calls that were sent on it.
    :ivar left: whether its caller has gone.
    """

    def __init__(self, name: str, protocol: Any, transport: MemoryTransport) -> None:
        self.name = name
        self.asks: list[str] = []
        self.left = False
        self.transport = transport
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)

    @property
    def open(self) -> bool:
        """Whether its caller was not told of an end yet."""
        return not (self.transport.lost or self.transport.closing)


class Doors:
    """See the module's docstring, and :class:`tests.interleavings.explorer.World`.

    :param http: HTTP connections, each with one request.
    :param oap: streams of the one OAP/1 connection.
    :param limit: permits.
    :param queue: how many calls may wait for one.
    :param ends: how a call may end from outside: ``answer``, ``fail``, ``leave``, ``cancel`` (OAP/1).
    :param transport: makes what a connection is made of.
    :param listens: whether the calls are subscriptions, whose ends take a while: something goes back.
    :param withdraws: whether a reload may take away what they are of.
    :param fills: whether the OAP/1 caller may stop reading, and read again.
    """

    def __init__(
        self,
        *,
        http: int = 1,
        oap: int = 1,
        limit: int = 4,
        queue: int = 0,
        ends: tuple[str, ...] = ("answer", "leave"),
        fills: bool = False,
        hurries: bool = False,
        transport: Callable[[Clock], MemoryTransport] = MemoryTransport,
        listens: bool = False,
        withdraws: bool = False,
        drain: Callable[..., Drain] = Drain,
        site: Callable[..., HttpSite] = HttpSite,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        _Now.world = self
        self._counted = _counted()
        self.clock = clock = Clock()
        self.stopped = self.refusing = False
        #: Of the calls, or where they are subscriptions, of these.
        self.gate = Gate(limit, queue=queue)
        self.dispatcher = _Dispatcher(
            gates={"echo": Gate(0) if listens else self.gate},
            slots={"echo": self.gate},
            timeouts={"echo": timeout_s},
            clock=clock,
        )
        self._op = "listen" if listens else "say"
        self._withdraws = withdraws
        self.owed: dict[str, Deferred[Reply]] = {}
        #: What a subscription that ended waits for.
        self.backs: dict[str, Deferred[None]] = {}
        self.admitted: set[str] = set()
        #: What was seen to be wrong where an exception would be taken for a defect of a handler or effect.
        self.wrong: list[str] = []
        self.http = site(
            routes=_SETTINGS.routes,
            deadlines=_SETTINGS.deadlines,
            metrics=_METRICS,
            clock=clock,
            access=_unheard,
            wall=clock.seconds,
        )
        self.oap = OAPFactory(
            dispatcher=self.dispatcher,
            metrics=_METRICS,
            clock=clock,
            access=_unheard,
            limits=_LIMITS,
            timeouts=_TIMEOUTS,
            chance=_half,
        )
        self.callers = [
            Connection(f"h{number}", self.http.buildProtocol(None), transport(clock))
            for number in range(1, http + 1)
        ]
        self._streams = oap
        self.peer: Connection | None = None
        if oap:
            self.peer = Connection("o", self.oap.buildProtocol(None), transport(clock))
            self.peer.send(_HELLO)
            self.callers.append(self.peer)
        self._ends, self._fills, self._hurries = ends, fills, hurries
        self._cancelled: set[str] = set()
        self._begun = self._hurried = False
        self._gone_s = self._stopped_s = 0.0
        self._full: bool | None = None
        self._steps = 0
        none = SimpleNamespace(connections=0, give_up=_unheard, abort_all=lambda: None)
        parts: Any = SimpleNamespace(
            dispatcher=self.dispatcher,
            http=self.http,
            oap=self.oap,
            admin=none,
            owners=SimpleNamespace(close=lambda: succeed(None)),
        )
        draining = Draining(
            parts,
            clock,
            {},
            inherited=lambda name: False,
            drains=lambda: None,
            stop_services=lambda: succeed(None),
            ended=self._stopped,
        )
        self._spreads = draining._goodbyes, draining._ends
        for spread in self._spreads:
            # Orders are to come about again.
            spread._chance = _half
        self.effects = draining
        self.drain = drain(clock, draining)

    # World

    def enabled(self) -> Sequence[str]:
        """See :class:`~tests.interleavings.explorer.World`."""
        events: list[str] = []
        first = True
        for caller in self.callers:
            if caller is self.peer:
                continue
            if not caller.transport.lost:
                if not caller.asks and caller.open:
                    # They are alike: any other order of asking is the same with other names.
                    if first:
                        events.append(f"{caller.name} asks")
                    first = False
                if "leave" in self._ends:
                    events.append(f"{caller.name} leaves")
        if self.peer is not None and not self.peer.transport.lost:
            if self.peer.open and len(self.peer.asks) < self._streams:
                events.append(f"o{len(self.peer.asks) + 1} asks")
            if "cancel" in self._ends and self.peer.open:
                going_on = self.owed if self._op == "say" else self.admitted - self.dispatcher.over
                events += [
                    f"{name} cancels"
                    for name in self.peer.asks
                    if name in going_on and name not in self._cancelled
                ]
            if "leave" in self._ends:
                events.append("o leaves")
            if self._fills and self._full is not False and self.peer.transport.producer is not None:
                events.append("o reads" if self._full else "o stops reading")
        events += [f"{name} {end}s" for name in self.owed for end in self._ends if end in ("answer", "fail")]
        events += [f"{name} hands back" for name in self.backs]
        if self._withdraws and not self.stopped:
            events.append("reload")
        if not self._begun:
            events.append("drain")
        elif self._hurries and not self._hurried and not self.stopped:
            events.append("hurry")
        if self._next_time() is not None:
            events.append("time passes")
        return events

    def do(self, event: str) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        self._steps += 1
        assert self._steps < MAX_STEPS, "it goes on and on"
        if event == "time passes":
            seconds = self._next_time()
            assert seconds is not None
            self.clock.advance(seconds)
        elif event == "drain":
            self._begun = True
            self._gone_s = self.clock.seconds() + GRACE_S + DEADLINE_S + END_S
            self.drain.begin(GRACE_S, DEADLINE_S)
        elif event == "hurry":
            self._hurried = True
            self.drain.hurry()
        elif event == "reload":
            self._withdraws = False
            self.dispatcher.serve(attrs.evolve(self.dispatcher.serving, table=OperationTable(())))
            self.dispatcher.end_withdrawn()
        else:
            self._to(*event.split(" ", 1))
        self._check()

    def _to(self, name: str, what: str) -> None:
        if what == "answers":
            self.owed.pop(name).callback(_REPLY)
        elif what == "fails":
            self.owed.pop(name).errback(NodeError(ErrorCode.OWNER_UNAVAILABLE, "the owner failed"))
        elif what == "hands back":
            self.backs.pop(name).callback(None)
        elif name.startswith("o"):
            assert self.peer is not None
            self._to_peer(self.peer, name, what)
        else:
            caller = self.callers[int(name[1:]) - 1]
            if what == "asks":
                caller.asks.append(name)
                caller.send(f"GET /app/echo/{self._op}?name={name} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            else:
                self._leave(caller)

    def _to_peer(self, peer: Connection, name: str, what: str) -> None:
        if what == "asks":
            peer.asks.append(name)
            peer.send(_STARTS[int(name[1:]), self._op])
        elif what == "cancels":
            self._cancelled.add(name)
            peer.send(_CANCELS[int(name[1:])])
        elif what == "leaves":
            self._leave(peer)
        elif what == "reads":
            self._full = False
            peer.transport.drain()
        else:
            self._full = True
            peer.transport.fill()

    def _leave(self, caller: Connection) -> None:
        caller.left = True
        caller.transport.lose()

    def _check(self) -> None:
        """Check what holds at any time: a permit is out for each call that is worked on, and no other."""
        assert not self.wrong, self.wrong
        at_work = len(self.admitted) - len(self.admitted & self.dispatcher.over)
        assert self.gate.in_use == at_work, f"{self.gate.in_use} permits are out for {at_work} calls"
        assert self.dispatcher.active == at_work, f"{self.dispatcher.active} active, {at_work} at work"

    def end(self) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        assert self.drain.phase is Phase.STOPPED, f"the drain is stuck in {self.drain.phase}"
        assert self.stopped, "nobody was told of the end"
        assert self._stopped_s <= self._gone_s + EPSILON_S, "the drain took too long"
        assert not self.http.connections + self.oap.connections, "connections are left"
        left = self.clock.getDelayedCalls()
        assert not left, f"left in the reactor: {left}"
        assert sorted(self.dispatcher.asked) == sorted(self.dispatcher.over), "a call never ends"
        self._check()
        for caller in self.callers:
            if caller is self.peer:
                self._check_frames(caller)
            else:
                self._check_answer(caller)
        assert _counted() == self._counted, "calls or streams are counted that are over"

    def _check_answer(self, caller: Connection) -> None:
        """Check that nobody who is still there is left without an answer, or with half of one."""
        told = read_stream(caller.transport.value())
        assert not told.behind, f"{caller.name} was told more than it asked"
        whole = told.head is not None and told.whole
        assert whole or caller.left or not caller.asks, f"{caller.name} was not told all"
        if said := _CODE.search(caller.transport.value()):
            self._check_error(caller.name, said[1].decode())

    def _check_error(self, name: str, code: str) -> None:
        """Check that nobody is told that nothing was done where something may have been.

        That of a subscription is not repeated, but begun again: it ends as ``draining``.
        """
        if self._op == "say":
            why = lie(code, admitted=name in self.admitted)
            assert not why, f"{name} {why}"

    def _check_frames(self, peer: Connection) -> None:
        ends: dict[str, int] = dict.fromkeys(peer.asks, 0)
        for frame in read_frames(peer.transport.value()):
            name = f"o{frame.corr_id}"
            if frame.corr_id and frame.ends:
                ends[name] += 1
                if frame.code >= 400 and frame.payload:
                    self._check_error(name, frame.json["code"])
        for name, count in ends.items():
            assert count <= 1, f"{name} has {count} ends"
            assert count or peer.left or self._full, f"{name} was told nothing"

    def _next_time(self) -> float | None:
        """Return the seconds until something is due that belongs to a call, or to the drain.

        What only looks, and would find what changes nothing, is not waited for.
        """
        now, drain, begun = self.clock.seconds(), self.drain, self._begun and not self.stopped
        looks = [drain.look, *(each._step for each in self._spreads if not each._left())]
        due = [each.getTime() - now for each in self.clock.calls if each.func not in looks]
        if begun:
            assert drain._timer is not None, "the drain waits for nothing"
            assert drain._timer.active(), "the drain waits for nothing"
            left = self.effects.left(drain.phase)
            due.append(drain.left_s if left else drain._timer.getTime() - now)
        soonest = min(due, default=None)
        # Connections that nobody uses are closed after a minute: that is not waited for.
        return soonest if soonest is not None and (begun or soonest <= TIMEOUT_S) else None

    def _stopped(self) -> None:
        if self.dispatcher.active:
            self.wrong.append("a call is not over when all is")
        self.stopped = True
        self._stopped_s = self.clock.seconds()

    # The owner

    async def handle(self, call: Call) -> Reply:
        """Answer when the world says so, or begin a subscription at once."""
        name: str = call.args["name"]
        self.admitted.add(name)
        if self.drain.phase in _REFUSING:
            self.wrong.append(f"{name} was admitted although the node drains")
        if self._op == "listen":
            return Reply(head=_HEAD_OF_EVENTS, body=_Feed(self, name))
        owed = self.owed[name] = Deferred(lambda _: self.owed.pop(name, None))
        return await owed


class _Feed:
    """The body of a subscription to which nothing comes: it ends when it is cancelled."""

    def __init__(self, world: Doors, name: str) -> None:
        self._world = world
        self._name = name

    def relay(self, head: ResponseHead, sink: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self._relay(head, sink))

    async def _relay(self, head: ResponseHead, sink: Any) -> None:
        sink.start(head)
        name, backs = self._name, self._world.backs
        try:
            # As a subscription does that has no messages.
            await Deferred()
        finally:
            back = backs[name] = Deferred(lambda _: backs.pop(name, None))
            await back

    def abort(self) -> None:
        """Nothing is taken before the relay."""


def _unheard(*_: object) -> None:
    """What is told to nobody."""


def _counted() -> tuple[float, float]:
    """Return how many calls and streams the metrics say there are."""
    calls = _METRICS.inflight("echo.say").value + _METRICS.inflight("echo.listen").value
    return calls, _METRICS.oap_streams.value


def _half() -> float:
    return 0.5


def make(**settings: Any) -> Callable[[], Doors]:
    """Return what makes a world of doors with *settings*."""
    return lambda: Doors(**settings)
