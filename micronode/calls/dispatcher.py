"""The dispatcher: what happens to a call between the door it came through and its facet.

The order is fixed (``docs/architecture.rst``, "life of a call"): the ingress has routed the call and
applied the cheap caps; here its caller's rate is looked at and the gates admit it (429), at once or when
its turn comes, a node that is going away refuses it (503), the
policy judges it (403), the facet asks its owner, and the answer is relayed to the sink. One deadline runs
until the sink has got the head: up to there an answer may still be held back, and the caller has heard
nothing. Whatever goes wrong reaches the sink as exactly one :class:`~micronode.errors.NodeError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from micronode.calls.call import Call
from micronode.calls.deadline import Deadline
from micronode.calls.operations import Operation
from micronode.calls.outcome import answer, fail, result_of, tell
from micronode.calls.refusals import Refusals, buckets_of, draining, rate_limited
from micronode.calls.running import Running
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.measure import Level
from micronode.concurrency.rates import Rates
from micronode.concurrency.shedlog import ShedLog
from micronode.concurrency.timeouts import Timeouts
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IPolicy, IResponseSink
from micronode.observability.metrics import Metrics


class Dispatcher:
    """Runs calls against the table of operations.

    :ivar active: calls being worked on.
    """

    def __init__(
        self,
        table: OperationTable,
        *,
        gates: Mapping[str, Gate],
        timeouts: Mapping[str, float],
        clock: IReactorTime,
        metrics: Metrics,
        slots: Mapping[str, Gate] | None = None,
        policy: IPolicy | None = None,
        shed: ShedLog | None = None,
        random: Random | None = None,
    ) -> None:
        """:param gates: facet name -> its gate.
        :param slots: facet name -> the gate of its subscriptions, which take no permit of the other one.
        :param timeouts: facet name -> seconds from dispatch to the head that the caller gets.
        :param policy: asked about every call; None: nobody is.
        :param shed: tells of refusals in the log; None: nothing does.
        :param random: spreads when refused callers come back.
        :raises ValueError: a facet of the table has no gate or no timeout, or subscribes without slots.
        """
        self._clock = clock
        #: Those of the calls, by their length.
        self._timeouts: dict[float, Timeouts] = {}
        self._adopt(Serving.within(table, gates, slots or {}, timeouts, policy))
        self.active = 0
        #: The subscriptions that run, with what is needed to tell their callers of the end.
        self._subscriptions: dict[Running, tuple[Call, IResponseSink]] = {}
        #: The calls that wait for a permit.
        self._queued: dict[Running, None] = {}
        self._rates = Rates(clock.seconds)
        self._metrics = metrics
        # Nothing secret depends on it.
        self._refusals = Refusals(metrics, shed, random or Random())  # noqa: S311
        self._idle_waiters: list[Deferred[None]] = []

    @property
    def table(self) -> OperationTable:
        """The operations that are served."""
        return self._serving.table

    @property
    def serving(self) -> Serving:
        """What is served now, and within which bounds."""
        return self._serving

    @property
    def timeouts(self) -> Collection[Timeouts]:
        """Those of the calls, one of each length."""
        return self._timeouts.values()

    @property
    def rates(self) -> Rates:
        """The buckets of the callers."""
        return self._rates

    def serve(self, serving: Serving) -> None:
        """Serve *serving* from now on. Calls that were admitted keep what they began with."""
        self._adopt(serving)
        if not serving.rps:
            self._rates.clear()
        # Last, because it may let in those that wait.
        serving.set_limits()

    def _adopt(self, serving: Serving) -> None:
        self._serving = serving
        lengths = {bound.timeout_s for bound in serving.bounds.values()}
        # Those that are gone go on for the calls that began with them.
        self._timeouts = {
            length: self._timeouts.get(length) or Timeouts(self._clock, length) for length in lengths
        }

    def turn_away(self, operation: Operation, origin: str) -> NodeError | None:
        """Return why :meth:`dispatch` would refuse a call to *operation* now; None: it is to be asked.

        For a door that knows the operation before it has made a call of what came: under overload most calls
        are refused, and then that would be most of the work. What is returned is counted as a refusal, and is
        to be told; that the call's rate alone would refuse it is left to :meth:`dispatch`.

        :param origin: see :attr:`~micronode.calls.call.Call.origin`.
        """
        serving, refusals = self._serving, self._refusals
        bound = serving.bounds[operation.facet]
        gate = bound.slots if operation.subscribes else bound.gate
        shut = gate.shut
        if not refusals.cover(operation) and (not shut or gate.has_place):
            return None
        error, reason = refusals.of(operation, gate if shut else None)
        if serving.rps and (wait_s := self._rates.take(*buckets_of(None, origin, serving.rps))):
            error = rate_limited(serving.rps, wait_s)
            reason = error.code.value
        refusals.refused(reason, operation.facet)
        return error

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        """Answer *call* through *sink*.

        :return: a Deferred that fires (None) when the call is over: the sink has finished or was
            failed. It never fails. Cancelling it (the caller has gone) aborts the owner's connection
            and leaves the sink untouched; it fires when that is done, and the slot is free then.
        """
        operation, serving = call.operation, self._serving
        if serving.rps:
            wait_s = self._rates.take(*buckets_of(call.token_id, call.origin, serving.rps))
            if wait_s:
                return self._refuse(call, sink, rate_limited(serving.rps, wait_s))
        bound = serving.bounds[operation.facet]
        gate = bound.slots if operation.subscribes else bound.gate
        queued = False
        refusals = self._refusals
        if not gate.try_acquire():
            queued = gate.has_place and not refusals.cover(operation)
            if not queued:
                return self._refuse(call, sink, *refusals.of(operation, gate))
        elif refusals.cover(operation):
            gate.release()
            return self._refuse(call, sink, *refusals.of(operation, None))
        running = Running()
        if operation.subscribes:
            self._subscriptions[running] = call, sink
        deadline = Deadline(self._clock, self._timeouts[bound.timeout_s], call, sink)
        admitted = self._wait if queued else self._admitted
        running.run(admitted(call, sink, gate, running, deadline))
        if not running.called:
            deadline.guard(running.interrupt)
        return running

    def drain(self) -> None:
        """Refuse every call from now on; those admitted go on.

        Subscriptions would go on for ever, so they are ended, with ``draining``; and nothing was done yet for
        those that still wait, so that these can be asked of another node.
        """
        self._refusals.draining = True
        for running in list(self._queued):
            running.end(draining())
        self.end_subscriptions(lambda call: draining())

    def shed(self, level: Level, stay_away_s: Callable[[], float]) -> None:
        """Refuse what *level* says from now on, with ``not_ready``; calls that were admitted go on.

        :param stay_away_s: for how many seconds a refused caller is to stay away; asked for each.
        """
        self._refusals.shed(level, stay_away_s)

    def end_withdrawn(self) -> None:
        """End the subscriptions to operations that are not served any more, with ``not_found``.

        Calls to them finish; a subscription would go on for ever, and who switches a facet off wants an end.
        """
        served = {operation.name for operation in self.table}

        def judge(call: Call) -> NodeError | None:
            name = call.operation.name
            return (
                None if name in served else NodeError(ErrorCode.NOT_FOUND, f"{name} is not served any more")
            )

        self.end_subscriptions(judge)

    def end_subscriptions(self, judge: Callable[[Call], NodeError | None]) -> None:
        """End each subscription for which *judge* returns an error, with that.

        Its relay is cancelled, and its caller told at once, however long it takes to hand back.
        """
        for running, (call, sink) in list(self._subscriptions.items()):
            error = None if running.given_up else judge(call)
            if error is not None:
                running.end(error)
                fail(call, sink, error)

    def abandon(self) -> None:
        """Let ended subscriptions hand nothing back any more: what they hold comes again by itself."""
        for running in list(self._subscriptions):
            running.cancel()

    def when_idle(self) -> Deferred[None]:
        """Return a Deferred that fires (None) when no call is being worked on. Cancelling it is harmless."""
        if not self.active:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._idle_waiters.remove)
        self._idle_waiters.append(waiter)
        return waiter

    def _refuse(
        self, call: Call, sink: IResponseSink, error: NodeError, reason: str | None = None
    ) -> Deferred[None]:
        """Answer *call* with *error*; nothing was done for it.

        :param reason: what metrics and the log call it: the error's name where it is None.
        """
        self._refusals.refused(reason or error.code.value, call.operation.facet)
        fail(call, sink, error)
        return succeed(None)

    async def _wait(
        self, call: Call, sink: IResponseSink, gate: Gate, running: Running, deadline: Deadline
    ) -> None:
        """Wait for a permit, for half of the call's time at most and in the order of arrival, then answer it.

        A call that never gets one ends as one for which nothing was done.
        """
        self._queued[running] = None
        turn = gate.wait()
        deadline.wait(turn.cancel)
        try:
            await turn
            if deadline.waited_too_long:
                gate.release()
                raise CancelledError
        except CancelledError:
            deadline.stop()
            if running.caller_gone:
                self._metrics.facet_requests(call.operation.facet, "cancelled").inc()
            elif running.ended is not None:
                self._refuse(call, sink, running.ended)
            else:
                self._refuse(call, sink, *self._refusals.of(call.operation, gate))
            return
        finally:
            del self._queued[running]
            # However it ends: a turn that nobody takes would be a permit that nobody gives back.
            gate.forget(turn)
        await self._admitted(deadline.waited(), sink, gate, running, deadline)

    async def _admitted(
        self, call: Call, sink: IResponseSink, gate: Gate, running: Running, deadline: Deadline
    ) -> None:
        operation = call.operation
        inflight = self._metrics.inflight(operation.name)
        inflight.inc()
        self.active += 1
        began_s, policy = self._clock.seconds(), self._serving.policy
        result = "failed"
        try:
            if policy is not None:
                judged = policy.admit(call)
                # Mostly it is known, and then there is nothing to wait for.
                call = await judged if isinstance(judged, Deferred) else judged
            await answer(call, sink, running, deadline)
            # It may have ended badly on the caller's side of the sink.
            result = "ok" if sink.error is None else result_of(sink.error)
        except Exception as error:
            error = deadline.blamed_for(error)
            if isinstance(error, NodeError) and error.bound is not None:
                self._refusals.note(error.bound, operation.facet)
            result = tell(call, sink, error, running)
        finally:
            deadline.stop()
            self._metrics.facet_requests(operation.facet, result).inc()
            inflight.dec()
            self._subscriptions.pop(running, None)
            self.active -= 1
            # It may let in others, which run before it returns.
            gate.release(self._clock.seconds() - began_s)
            while self._idle_waiters and not self.active:
                self._idle_waiters.pop(0).callback(None)
