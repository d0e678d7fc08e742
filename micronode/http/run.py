"""Judges a request, runs its handler, and makes sure that it is answered exactly once, whatever happens."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from micronode.errors import ErrorCode, NodeError
from micronode.http.body import BytesBody
from micronode.http.request import Request
from micronode.http.routes import Routes

_log = Logger()


def admit(routes: Routes, request: Request) -> bool:
    """Let *routes* judge the head of *request*; False: it was refused, and answered."""
    try:
        routes.admit(request)
    except NodeError as error:
        request.sink.fail(error)
    except Exception:
        _defect(request, Failure())
    else:
        return True
    return False


def run(routes: Routes, request: Request, data: bytes) -> None:
    """Execute the endpoint of *request*, whose body came as *data*.

    Its Deferred becomes ``request.running``.
    """
    request.whole = True
    if request.route is not None and request.route.max_body_bytes is not None:
        try:
            request.body = BytesBody(routes.decode(request, data))
        except NodeError as error:
            request.sink.fail(error)
            return
    request.dispatched = True
    try:
        running = routes.run(request)
    except Exception:
        _defect(request, Failure())
        return
    if not isinstance(running, Deferred):
        if not request.sink.ended:
            _defect(request, None)
        return
    request.running = running
    running.addCallbacks(_over, _failed, callbackArgs=(request,), errbackArgs=(request,))
    if request.running is not None and request.sink.cut:
        # The caller left while its handler was still being called.
        running.cancel()


def _over(_: None, request: Request) -> None:
    request.running = None
    if not request.sink.ended:
        _defect(request, None)
    _part(request)


def _failed(failure: Failure, request: Request) -> None:
    request.running = None
    if not request.sink.ended:
        _defect(request, failure)
    _part(request)


def _part(request: Request) -> None:
    """Take *request*, which is over, from its sink, so that neither waits for the garbage collector."""
    del request.sink


def _defect(request: Request, failure: Failure | None) -> None:
    """Log what went wrong with *request* on our side, and answer that it did."""
    route = request.route.name if request.route is not None else ""
    if failure is not None:
        _log.failure("route {route} failed", failure=failure, route=route)
    else:
        _log.error("route {route} left its request unanswered", route=route)
    request.sink.fail(NodeError(ErrorCode.INTERNAL, "the node could not answer this"))
