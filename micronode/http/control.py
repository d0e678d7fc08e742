"""What an operator may ask of a node and tell it to do: ``/api/v1`` of the admin plane.

Looking is free, as with the probes. What changes the node always needs authentication, loopback or not; it
is judged from the head. The answers' shapes are in ``docs/architecture.rst``, "The admin plane".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from micronode.config.hot_reload import Outcome
from micronode.config.problems import Problem
from micronode.errors import ErrorCode, NodeError
from micronode.http.answer import answer_json
from micronode.http.head import RequestHead
from micronode.http.request import Request
from micronode.http.routes import Route

#: Problems of a configuration that an answer tells; who has more begins with these.
MAX_PROBLEMS: Final = 100
_READ: Final = frozenset({"GET", "HEAD"})
_POST: Final = frozenset({"POST"})

#: Judges the head of a request that would change the node.
#: Raises NodeError: ``unauthorized``, ``forbidden``.
Authenticate = Callable[[RequestHead], None]


def refuse_everybody(head: RequestHead) -> None:
    """Refuse whoever asks: this release cannot check a capability.

    :raises NodeError: ``unauthorized``.
    """
    raise NodeError(
        ErrorCode.UNAUTHORIZED,
        "this needs a capability, which this release cannot check yet; "
        "send the node's process SIGHUP to reload, SIGTERM to drain and stop",
        headers=(("WWW-Authenticate", "Bearer"),),
    )


@attrs.frozen(kw_only=True)
class Control:
    """The node, as far as it is looked at and steered here.

    Its Deferreds never fail; cancelling one leaves what it stands for be.
    """

    #: The body of ``/api/v1/status``.
    status: Callable[[], dict[str, Any]]
    #: What a reload would do now; changes nothing. Who asks while one is worked on gets that one.
    preview: Callable[[], Deferred[Outcome]]
    reload: Callable[[], Deferred[Outcome]]
    #: Begins to stop the node in order; harmless where that has begun.
    drain: Callable[[], object]
    #: Judges who would reload or drain.
    authenticate: Authenticate = refuse_everybody


def control_routes(control: Control) -> tuple[Route, ...]:
    """Return the routes of ``/api/v1``."""

    def prepare(request: Request) -> dict[str, Any]:
        control.authenticate(request.head)
        return {}

    def status(request: Request) -> None:
        answer_json(request, control.status())

    def preview(request: Request) -> Deferred[None]:
        return control.preview().addCallback(lambda outcome: answer_json(request, _told(outcome)))

    def reload(request: Request) -> Deferred[None]:
        return control.reload().addCallback(lambda outcome: _answer_reload(request, outcome))

    def drain(request: Request) -> None:
        # The answer first: a node that has nothing to wait for may be gone when it returns.
        answer_json(request, {"state": "draining"})
        control.drain()

    return (
        Route(name="status", methods=_READ, path="/api/v1/status", handler=status),
        Route(name="reload_preview", methods=_READ, path="/api/v1/reload", handler=preview),
        Route(name="reload", methods=_POST, path="/api/v1/reload", handler=reload, prepare=prepare),
        Route(name="drain", methods=_POST, path="/api/v1/drain", handler=drain, prepare=prepare),
    )


def _answer_reload(request: Request, outcome: Outcome) -> None:
    """Answer with what came of a reload; what did not end well as an error, with the same members."""
    told = _told(outcome)
    error = _error(outcome)
    if error is None:
        answer_json(request, told)
    else:
        request.sink.fail(NodeError(*error, details=told))


def _error(outcome: Outcome) -> tuple[ErrorCode, str] | None:
    if outcome.outcome == "draining":
        return ErrorCode.CONFLICT, "the node is stopping; it takes no other configuration"
    if outcome.outcome == "refused":
        return ErrorCode.CONFIG_REFUSED, f"the configuration is refused: {outcome.reason}"
    if outcome.outcome == "failed":
        return ErrorCode.INTERNAL, "the node could not take the configuration; its log says why"
    return None


def _told(outcome: Outcome) -> dict[str, Any]:
    left = len(outcome.problems) - MAX_PROBLEMS
    if left > 0:
        more = Problem("", f"there are {left} more problems", "correct these first")
        outcome = attrs.evolve(outcome, problems=(*outcome.problems[:MAX_PROBLEMS], more))
    return outcome.as_dict()
