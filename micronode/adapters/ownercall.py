"""One call of an owner, from its permit to the response head, over as many attempts as it takes.

One ends before the next begins; the permit is the call's, and is free when its last attempt has ended.
What is tried again, and what never: ``docs/architecture.rst``, "Owners".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from micronode.adapters.attempt import BLAMED, FINAL, UNCONNECTED, Attempt, Loss, Request
from micronode.adapters.endpoints import Endpoint, choose, rest_before_s
from micronode.adapters.lease import full, outcome_of, unavailable
from micronode.adapters.reply import OwnerReply
from micronode.adapters.retries import STATUSES, Retries, read_rest
from micronode.adapters.settings import OwnerSettings
from micronode.adapters.timeleft import TimeLeft
from micronode.adapters.upload import UploadBody
from micronode.errors import NodeError
from micronode.interfaces import IOwnerReply

if TYPE_CHECKING:
    from micronode.adapters.owner import OwnerClient

_EMPTY: Final = (204, 304)


class OwnerCall:
    """See the module's docstring.

    Once it is over nothing that it holds refers to it, so that no garbage has to be found.

    :param settings: those that it keeps, whatever a reload brings.
    """

    def __init__(
        self, client: OwnerClient, settings: OwnerSettings, request: Request, time_left: TimeLeft
    ) -> None:
        #: What the caller waits for; None once it has fired.
        self.answered: Deferred[IOwnerReply] | None = Deferred(self._cancelled)
        self._client = client
        self._settings = settings
        self._request = request
        self._time_left = time_left
        self._attempt: Attempt | None = None
        #: Where it has been.
        self._tried: list[Endpoint] = []
        #: None before the first.
        self._retries: Retries | None = None
        self._waiting: Deferred[None] | None = None
        self._pausing: IDelayedCall | None = None
        self._body: UploadBody | None = None
        # Bytes are no upload: they leave with the head, and nothing of them is waited for.
        if request.body is not None and not isinstance(request.body, bytes):
            stall_s, begun = settings.stall_s, self._upload_begun
            self._body = UploadBody(request.body, client.clock, stall_s, self._upload_stalled, begun)

    # The permit

    def begin(self) -> None:
        """Make the call, for which a permit was taken."""
        self._waiting = None
        self._client.budget.call()
        endpoint = choose(self._settings.endpoints, self._client.random)
        if endpoint is not None:
            self._send(endpoint)
            return
        wait_s = max(1.0, min(each.breaker.wait_s for each in self._settings.endpoints))
        self._client.ended("unavailable")
        self._tell(unavailable(self._client.name, "fails too often, and is left alone for now", wait_s))

    def begin_after(self, waiting: Deferred[None]) -> None:
        """Make the call once *waiting* has fired, which comes with a permit."""
        self._waiting = waiting
        waiting.addCallbacks(lambda _: self.begin(), self._not_granted)

    def _not_granted(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self._client.count("cancelled")
        else:
            self._client.count("unavailable")
            self._tell(full(self._client.name))

    # One attempt

    def _send(self, endpoint: Endpoint, *, fresh: bool = False) -> None:
        attempt = self._attempt = Attempt(self._client, endpoint, self._settings.idle_s)
        self._tried.append(endpoint)
        body, left_s = self._body, self._time_left.of_attempt
        # Of a body that is uploaded it watches the way to the connection, which takes no deadline of its own.
        attempt.watch(left_s, partial(self._expired, attempt, left_s))
        written = None if body is None else partial(self._uploaded, attempt)
        try:
            exchange = attempt.send(self._request, body, fresh=fresh, left_s=left_s, on_written=written)
        except Exception as error:
            attempt.abort()
            self._tell(error)
            return
        exchange.listen(partial(self._got_head, attempt), partial(self._failed, attempt))

    def _expired(self, attempt: Attempt, left_s: float) -> None:
        """*attempt*, which had so many seconds, got no answer in them."""
        if self._time_left.is_short(left_s):
            attempt.judge(None)
        # The same one would need as long again, and may be slow because it has too much to do.
        (self._lost if self._elsewhere() else self._fail)(attempt, attempt.too_slow())

    def _uploaded(self, attempt: Attempt) -> None:
        if not attempt.ended and self.answered is not None:
            # How long an upload took says nothing about the owner.
            attempt.began = self._client.clock.seconds()
            self._time_left.restart()
            left_s = self._time_left.of_attempt
            attempt.watch(left_s, partial(self._expired, attempt, left_s))

    def _upload_begun(self) -> None:
        """There is a connection. How long the body takes is its caller's affair."""
        if self._attempt is not None:
            self._attempt.rest()

    def _upload_stalled(self) -> None:
        if self._attempt is not None and not self._attempt.ended and self.answered is not None:
            self._fail(self._attempt, self._attempt.unavailable("does not take the request's body"))

    # What becomes of an attempt

    def _got_head(self, attempt: Attempt, response: IResponse) -> None:
        client, status = self._client, response.code
        if attempt.ended:
            return
        # Its timer runs on to whoever comes next: the body, or the end of the attempt.
        if not self._time_left.waits:
            client.latency.observe(client.clock.seconds() - attempt.began)
        if not 200 <= status <= 599:
            self._fail(attempt, attempt.bad_answer("answered with a status that is none"))
            return
        attempt.outcome = "ok" if status < 400 else "client_error" if status < 500 else "server_error"
        if status >= 500:
            attempt.judge(False)
        elif not (attempt.endpoint.breaker.is_closed or self._request.is_question):
            client.answered(attempt.endpoint, attempt.entered)
        delay_s = None if status < 400 else self._delay_after(response, attempt)
        attempt.is_last = delay_s is None
        empty = self._request.method == b"HEAD" or status in _EMPTY
        reply = OwnerReply(attempt, response, empty=empty, mismatches=client.mismatches)
        if delay_s is not None:
            reply.discard()
            self._pause(delay_s, attempt.unavailable("cannot serve now"))
        elif not empty and attempt.max_body is not None and (reply.length or 0) > attempt.max_body:
            self._fail(attempt, attempt.bad_answer("answered more than it may"))
        else:
            self._tell(reply)

    def _failed(self, attempt: Attempt, failure: Failure) -> None:
        if attempt.ended:
            return
        loss, error = attempt.loss(failure)
        if loss not in BLAMED:
            attempt.judge(None)
        if loss in UNCONNECTED and self._move_on(attempt, error):
            return
        if loss is Loss.NO_REQUEST:
            attempt.abort()
            self._tell(error)
        elif loss in FINAL:
            self._fail(attempt, error)
        else:
            self._lost(attempt, error, stale=loss is Loss.STALE)

    def _move_on(self, attempt: Attempt, error: NodeError) -> bool:
        """Whether there was an endpoint where the call has not been, and it goes there.

        It may, whatever it asks for: nothing of it was sent. No load comes of it, so the budget is not asked.
        """
        others = self._elsewhere()
        if not others or self._time_left.of_call <= 0:
            return False
        attempt.is_last = False
        attempt.fail(error)
        self._send_to_one_of(others, error)
        return True

    def _lost(self, attempt: Attempt, error: NodeError, *, stale: bool = False) -> None:
        """*attempt* is of no use: try again, if that may be, or fail with *error*."""
        delay_s = self._delay(at_once=stale)
        if delay_s is None:
            self._fail(attempt, error)
            return
        attempt.is_last = False
        attempt.fail(error)
        if stale and attempt.endpoint.breaker.admits:
            self._send(attempt.endpoint, fresh=True)
        else:
            self._pause(delay_s, error)

    def _fail(self, attempt: Attempt, error: NodeError) -> None:
        attempt.is_last = True
        attempt.fail(error)
        self._tell(error)

    # Another try

    def _elsewhere(self) -> list[Endpoint]:
        """Return the endpoints where the call has not been, and may go."""
        return [each for each in self._settings.endpoints if each not in self._tried and each.breaker.admits]

    def _delay_after(self, response: IResponse, attempt: Attempt) -> float | None:
        """As :meth:`_delay`, after an answer; its endpoint may ask for a rest."""
        rest_s = read_rest(response)
        if rest_s is None:
            return None
        attempt.endpoint.rest(rest_s)
        return self._delay() if response.code in STATUSES else None

    def _delay(self, *, at_once: bool = False) -> float | None:
        """Return in how many seconds the call is tried again, and count that; None: it is not."""
        if not self._request.repeatable:
            return None
        if self._retries is None:
            client = self._client
            told = client.metrics.owner_retries(client.name).inc
            self._retries = Retries(client.budget, self._time_left, client.random, told)
        return self._retries.take(None if at_once else rest_before_s(self._settings.endpoints))

    def _pause(self, seconds: float, error: NodeError) -> None:
        self._pausing = self._client.clock.callLater(seconds, self._try_again, error)

    def _try_again(self, error: NodeError) -> None:
        self._pausing = None
        self._let_go()
        self._send_to_one_of(self._settings.endpoints, error)

    def _send_to_one_of(self, endpoints: Sequence[Endpoint], error: NodeError) -> None:
        """Send it to one of *endpoints*, or fail with *error*, that of the attempt before."""
        endpoint = choose(endpoints, self._client.random, self._tried)
        if endpoint is None:
            self._client.ended(outcome_of(error))
            self._tell(error)
        else:
            self._send(endpoint)

    # Ends

    def _tell(self, result: OwnerReply | Exception) -> None:
        """Fire what the caller waits for."""
        answered, self.answered = self.answered, None
        assert answered is not None
        answered.callback(result) if isinstance(result, OwnerReply) else answered.errback(result)

    def _cancelled(self, _: object) -> None:
        # Whoever cancels a Deferred fires it.
        self.answered = None
        if self._waiting is not None:
            self._waiting.cancel()
        elif self._pausing is not None:
            self._pausing.cancel()
            self._let_go()
            self._client.ended("cancelled")
        else:
            attempt = self._attempt
            assert attempt is not None
            waited_s = self._client.clock.seconds() - attempt.began
            if attempt.timed and self._time_left.is_over(waited_s):
                attempt.abort("timeout")
            self._let_go()

    def _let_go(self) -> None:
        """Abort the attempt; after a pause, what is left of it: a refusal's body that is still being read."""
        if self._attempt is not None:
            self._attempt.abort()
