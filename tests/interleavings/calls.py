"""A world of calls: the dispatcher with its gates and timeouts, reloads, and the drain, on one clock.

The owners' side is a handler whose answers the world gives; the callers' side a sink that notes what it is
told, and complains of being told twice. What a drain does to connections is told in :class:`Calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from micronode.calls.call import Call, Ingress, Reply, ResponseHead
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import Access, Operation
from micronode.calls.outcome import cut
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.shutdown import END_S, Drain, Phase
from micronode.concurrency.timer import EPSILON_S
from micronode.errors import ErrorCode, NodeError
from micronode.facets.hosted import FacetSettings, Served
from micronode.lifecycle import State, make_lifecycle
from micronode.oap.client.backoff import UNDONE
from micronode.observability.metrics import Metrics

TIMEOUT_S: Final = 1.5
GRACE_S: Final = 1.0
DEADLINE_S: Final = 2.0
#: More than any schedule has; a world that goes on beyond never ends.
MAX_STEPS: Final = 60
HEAD: Final = ResponseHead(status=200, content_type="application/json", length=0)
_REPLY: Final = Reply(head=HEAD)
#: Shared by all worlds, since it takes a hundred times as long to make as one; each leaves it as it was.
METRICS: Final = Metrics(facets=("echo",), owners=(), states=(), build={"version": "0"})


def lie(code: str, *, admitted: bool) -> str:
    """Return what is wrong with telling *code* to the caller of a call that was *admitted*, or was not."""
    if admitted and code in UNDONE:
        return f"was with its owner, and is told {code}: that nothing was done"
    if code == ErrorCode.OWNER_TIMEOUT.value and not admitted:
        return "never was with its owner, and is told that this was too slow"
    return ""


async def _handle(call: Call) -> Reply:
    caller: Caller = call.args["caller"]
    return await caller.handle()


OPERATION: Final = Operation(
    name="echo.say",
    facet="echo",
    method="GET",
    path="/app/echo",
    profile=0x0402,
    op="say",
    access=Access.READ,
    handler=_handle,
)
_INFLIGHT: Final = METRICS.inflight(OPERATION.name)


class Caller:
    """One call: what its caller is told, and what its owner does. It is its own sink.

    :ivar outcome: what the caller was told in the end; empty before.
    :ivar admitted: whether its handler was begun.
    :ivar over: whether the dispatcher says that it is over.
    :param slow: whether its owner is let go of only when the world says so, however often it is cancelled.
    """

    def __init__(self, name: str, world: Calls, *, slow: bool = False) -> None:
        self.name = name
        self.slow = slow
        self.asked = self.left = self.started = self.admitted = self.over = self.freed = False
        self.outcome = ""
        #: Whether its owner answers at once; and who asks when it is over.
        self.at_once = False
        self.then: Caller | None = None
        #: Which one it was to ask.
        self.number = 0
        self.error: NodeError | None = None
        self.running: Deferred[None] | None = None
        #: The owner's answer, while it is owed; and what a cancelled call waits for.
        self.owed: Deferred[Reply] | None = None
        self.holding: Deferred[None] | None = None
        self._world = world

    def ask(self) -> None:
        self.asked = True
        self.number = self._world.count()
        call = Call(operation=OPERATION, args={"caller": self}, ingress=Ingress.HTTP, request_id=self.name)
        self.running = self._world.dispatcher.dispatch(call, self)
        self.running.addBoth(self._ended)

    def leave(self) -> None:
        assert self.running is not None
        self.left = True
        self.running.cancel()

    def _ended(self, result: object) -> None:
        told = self.outcome or self.left
        if result is not None or self.over or not told:
            self._world.wrong.append(f"{self.name} ended with {result}, over {self.over}, told {told}")
        self.over = True
        if self.then is not None and not self.left:
            # As who asks again on the same connection: in the midst of what ends the call before.
            self.then.ask()

    # IResponseSink, as far as a call without a body needs it

    def start(self, head: ResponseHead) -> None:
        if self.started:
            self._world.wrong.append(f"{self.name} was started twice")
        self.started = True

    def finish(self) -> Deferred[None]:
        self._tell("finished")
        return succeed(None)

    def fail(self, error: NodeError) -> None:
        if not self.left:
            self.error = error
            if why := lie(error.code.value, admitted=self.admitted):
                self._world.wrong.append(f"{self.name} {why}")
            self._tell(error.code.value)

    def _tell(self, outcome: str) -> None:
        if self.left or self.outcome:
            self._world.wrong.append(
                f"{self.name}, told {self.outcome!r}, left {self.left}, is told {outcome}"
            )
        self.outcome = outcome

    # The owner

    async def handle(self) -> Reply:
        if self.admitted or self._world.refusing:
            why = "twice" if self.admitted else "although the node drains"
            self._world.wrong.append(f"{self.name} was admitted {why}")
        earlier = [each.name for each in self._world.waiting if each.number < self.number]
        if earlier:
            self._world.wrong.append(f"{self.name} is admitted before {earlier}")
        self.admitted = True
        if self.at_once:
            return _REPLY
        self.owed = Deferred()
        try:
            return await self.owed
        except CancelledError:
            while self.slow and not self.freed:
                self.holding = Deferred()
                try:
                    await self.holding
                except CancelledError:
                    continue
            raise
        finally:
            self.owed = None

    def free(self) -> None:
        self.freed = True
        if self.holding is not None:
            self.holding.callback(None)


class Calls:
    """A node without sockets: see :class:`tests.interleavings.explorer.World`, and the module.

    Connections are what a drain does to calls: those in flight are cancelled, and their callers told, when
    its deadline is over. A caller has its connection already, so that it may ask until the very end.

    :param callers: how many; those that are alike ask in the order of their numbers, since any other order
        is the same with other names.
    :param slow: how many of them, the last, are let go of by their owner only when the world says so.
    :param limit: permits at first.
    :param limits: what reloads set, one after the other.
    :param ends: how a call may end from outside: ``answer``, ``fail``, ``leave``.
    :param drains: whether the node is told to drain at any time; else at the end.
    :param hurries: whether it is told so twice, the second time to make haste.
    :param at_once: the numbers of those whose owners answer at once.
    :param chained: pairs of numbers: when the first one's call is over, the second asks at once.
    :param queue: how many calls may wait for a permit.
    :param max_calls: permits of the node.
    :param timeout_s: of the facet.
    :param gate: makes the facet's gate; with the next two, for defects that are to be found.
    :param dispatcher: makes the dispatcher.
    :param drain: makes the machine of the drain.
    """

    def __init__(
        self,
        *,
        callers: int,
        slow: int = 0,
        limit: int = 1,
        limits: tuple[int, ...] = (),
        ends: tuple[str, ...] = ("answer", "fail", "leave"),
        drains: bool = True,
        hurries: bool = False,
        at_once: tuple[int, ...] = (),
        chained: tuple[tuple[int, int], ...] = (),
        queue: int = 0,
        max_calls: int = 512,
        gate: Callable[[int], Gate] | None = None,
        dispatcher: Callable[..., Dispatcher] = Dispatcher,
        drain: Callable[..., Drain] = Drain,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._timeout_s, self._queue, self._max_calls = timeout_s, queue, max_calls
        self.clock = Clock()
        self._inflight = _INFLIGHT.value
        self.refusing = False
        #: What was seen to be wrong where an exception would be taken for a defect of a handler or effect.
        self.wrong: list[str] = []
        self.state = State.STARTING
        self.dispatcher = dispatcher(
            OperationTable(()),
            # Of the node's own making, unless it is to have a defect.
            gates={} if gate is None else {"echo": gate(limit)},
            timeouts={"echo": timeout_s},
            clock=self.clock,
            metrics=METRICS,
        )
        self._serve(limit)
        self.drain = drain(self.clock, self)
        self._lifecycle = make_lifecycle(self._entered)
        self._lifecycle.started()
        self.callers = [
            Caller(f"c{number}", self, slow=number > callers - slow) for number in range(1, callers + 1)
        ]
        for before, after in chained:
            self.callers[before - 1].then = self.callers[after - 1]
        self._chained = {self.callers[after - 1] for _, after in chained}
        for number in at_once:
            self.callers[number - 1].at_once = True
        self._alike = 1 if chained or at_once else callers - slow
        self._limits = list(limits)
        self._ends = ends
        self._drains = drains
        self._hurries = hurries
        self._begun = self._hurried = False
        self._gone_s = self._stopped_s = 0.0
        self._steps = self._count = 0

    @property
    def waiting(self) -> list[Caller]:
        """Those that wait for a permit."""
        return [each for each in self.callers if each.asked and not (each.admitted or each.over)]

    def count(self) -> int:
        """Return how many have asked, with the one that does now."""
        self._count += 1
        return self._count

    # World

    def enabled(self) -> Sequence[str]:
        """See :class:`~tests.interleavings.explorer.World`."""
        events: list[str] = []
        first = True
        for number, caller in enumerate(self.callers):
            if not caller.asked:
                if caller in self._chained:
                    continue
                if self.drain.phase is not Phase.STOPPED and (first or number >= self._alike):
                    events.append(f"{caller.name} asks")
                    first = False
            elif not caller.over:
                owed = caller.owed is not None and not caller.owed.called
                events += [f"{caller.name} {end}s" for end in self._ends if end != "leave" and owed]
                if "leave" in self._ends and not caller.left and not caller.outcome:
                    events.append(f"{caller.name} leaves")
                if caller.holding is not None and not caller.freed:
                    events.append(f"{caller.name} is let go")
        if self._limits and self.drain.phase is not Phase.STOPPED:
            events.append(f"reload to {self._limits[0]}")
        if not self._begun and (self._drains or not events):
            events.append("drain")
        elif self._begun and self._hurries and not self._hurried and self.drain.phase is not Phase.STOPPED:
            events.append("hurry")
        if self._next_time() is not None:
            events.append("time passes")
        return events

    def do(self, event: str) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        self._steps += 1
        assert self._steps < MAX_STEPS, "it goes on and on"
        subject, _, what = event.partition(" ")
        if event == "time passes":
            seconds = self._next_time()
            assert seconds is not None
            self.clock.advance(seconds)
        elif event == "drain":
            self._begun = True
            self._gone_s = self.clock.seconds() + GRACE_S + DEADLINE_S + END_S
            self._lifecycle.drain()
            self.drain.begin(GRACE_S, DEADLINE_S)
        elif event == "hurry":
            self._hurried = True
            self.drain.hurry()
        elif event.startswith("reload to"):
            self._serve(self._limits.pop(0))
        elif subject.startswith("c"):
            self._to(self.callers[int(subject[1:]) - 1], what)
        else:
            self._to_other(event)
        self._check()

    def _to(self, caller: Caller, what: str) -> None:
        if what == "asks":
            caller.ask()
        elif what == "answers":
            assert caller.owed is not None
            caller.owed.callback(_REPLY)
        elif what == "fails":
            assert caller.owed is not None
            caller.owed.errback(NodeError(ErrorCode.OWNER_UNAVAILABLE, "the owner failed"))
        elif what == "leaves":
            caller.leave()
        else:
            caller.free()

    def _to_other(self, event: str) -> None:
        """Let happen what only worlds that are made of this one have."""
        raise ValueError(event)

    def _check(self) -> None:
        """Check what holds at any time.

        A permit is out for each call that is worked on, and no other; nobody waits where there are some.
        """
        assert not self.wrong, self.wrong
        at_work = sum(each.admitted and not each.over for each in self.callers)
        gate = self.dispatcher.serving.bounds["echo"].gate
        assert gate.in_use == at_work, f"{gate.in_use} permits are out for {at_work} calls"
        assert self.dispatcher.active == at_work, f"{self.dispatcher.active} calls active, {at_work} at work"
        everybody = self.dispatcher.serving.calls
        assert gate.within is None or everybody.in_use == at_work, f"{everybody.in_use} permits of the node"
        waiting = len(self.waiting)
        assert gate.waiting == waiting, f"{waiting} wait, and the gate knows of {gate.waiting}"
        room = gate.in_use < gate.limit and (gate.within is None or everybody.in_use < everybody.limit)
        assert not (waiting and room), f"{waiting} wait although there are permits"
        timers = len(self.clock.calls) - (self.drain.phase not in (Phase.SERVING, Phase.STOPPED))
        assert timers <= (at_work + waiting > 0) + waiting, f"left in the reactor: {self.clock.calls}"

    def end(self) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        for caller in self.callers:
            assert caller.over or not caller.asked, f"{caller.name} never ends"
        assert self.drain.phase is Phase.STOPPED, f"the drain is stuck in {self.drain.phase}"
        assert self.state is State.STOPPED, f"the node is {self.state}"
        assert self._stopped_s <= self._gone_s + EPSILON_S, "the drain took too long"
        left = self.clock.getDelayedCalls()
        assert not left, f"left in the reactor: {left}"
        self._check()
        assert _INFLIGHT.value == self._inflight, "calls are counted that are over"

    def _next_time(self) -> float | None:
        """Return the seconds until something is due; None: nothing is.

        A look of the drain that would find something left changes nothing, so that it is not waited for.
        """
        now = self.clock.seconds()
        drain = self.drain
        due = [each.getTime() - now for each in self.clock.calls if each.func != drain.look]
        if drain.phase not in (Phase.SERVING, Phase.STOPPED):
            timer = drain._timer
            assert timer is not None, "the drain waits for nothing"
            assert timer.active(), "the drain waits for nothing"
            due.append(drain.left_s if self.left(drain.phase) else timer.getTime() - now)
        return min(due) if due else None

    # A reload

    def _serve(self, limit: int) -> None:
        settings = FacetSettings(limit=limit, queue=self._queue, timeout=self._timeout_s)
        served = {"echo": Served(settings, (OPERATION,))}
        before = self.dispatcher.serving
        self.dispatcher.serve(Serving.of(served, before, max_calls=self._max_calls))

    # micronode.concurrency.shutdown.Effects

    def _entered(self, state: State) -> None:
        self.state = state

    def grace(self, seconds: float) -> None:
        """See :class:`micronode.concurrency.shutdown.Effects`; as the others below."""

    def closing(self, seconds: float) -> None:
        """No connection comes any more."""

    def finishing(self) -> None:
        """Idle connections are closed; who asks now was on his way already."""

    def aborting(self) -> Deferred[None]:
        """No call is taken any more. Connections are dropped, with a last word."""
        self.refusing = True
        self.dispatcher.drain()
        for caller in self.callers:
            if caller.asked and not caller.over and not caller.left:
                if not caller.outcome:
                    caller.fail(self._last_word())
                caller.leave()
        return self.dispatcher.when_idle()

    def _last_word(self) -> NodeError:
        """Return what the doors tell callers whose calls are cut."""
        return cut(1.0)

    def releasing(self) -> None:
        """There is no owner."""

    def leaving(self) -> None:
        """There is no admin plane."""

    def stopped(self) -> None:
        """All is over."""
        self._stopped_s = self.clock.seconds()
        for caller in self.callers:
            if caller.asked and not (caller.over or caller.slow):
                self.wrong.append(f"{caller.name} is not over when all is")
        self._lifecycle.stopped()

    def left(self, phase: Phase) -> int:
        """Return how many calls there are, and while idle connections may still ask, of these too."""
        if phase is Phase.LEAVING:
            return 0
        idle = sum(not each.asked for each in self.callers) if phase is Phase.CLOSING else 0
        return sum(each.asked and not each.over for each in self.callers) + idle


def make(**settings: Any) -> Callable[[], Calls]:
    """Return what makes a world of calls with *settings*."""
    return lambda: Calls(**settings)
