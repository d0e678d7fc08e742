"""The admin plane: what a probe, a scraper and an operator may ask of a node.

It answers from what the node knows already, at once, and never asks an owner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReactorTime

from micronode.http.answer import answer, answer_json
from micronode.http.control import Control, control_routes
from micronode.http.limits import Deadlines, Timeouts
from micronode.http.request import Request
from micronode.http.routes import Route, Routes
from micronode.http.site import Access, HttpSite
from micronode.observability.metrics import CONTENT_TYPE, Metrics

_READ: Final = frozenset({"GET", "HEAD"})


class Probes(Protocol):
    """What the node says about itself."""

    def healthz(self) -> tuple[int, dict[str, Any]]:
        """Return status and body: whether the process is alive."""

    def readyz(self) -> tuple[int, dict[str, Any], int | None]:
        """Return status, body and, where it is not ready, Retry-After in seconds."""

    def version(self) -> dict[str, Any]:
        """Return what runs here."""


def admin_routes(probes: Probes, metrics: Metrics, control: Control) -> Routes:
    """Return the admin plane's routes."""

    def healthz(request: Request) -> None:
        status, body = probes.healthz()
        answer_json(request, body, status=status)

    def readyz(request: Request) -> None:
        status, body, retry_after_s = probes.readyz()
        headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
        answer_json(request, body, status=status, headers=headers)

    def version(request: Request) -> None:
        answer_json(request, probes.version())

    def scrape(request: Request) -> None:
        answer(request, metrics.render(), content_type=CONTENT_TYPE.decode("ascii"))

    handlers: dict[str, Callable[[Request], None]] = {
        "healthz": healthz,
        "readyz": readyz,
        "version": version,
        "metrics": scrape,
    }
    routes = (
        Route(name=name, methods=_READ, path=f"/{name}", handler=handler)
        for name, handler in handlers.items()
    )
    return Routes((*routes, *control_routes(control)))


#: Labels of the admin plane's routes, for whoever builds :class:`Metrics`.
ADMIN_ROUTES: Final = (
    "healthz",
    "readyz",
    "version",
    "metrics",
    "status",
    "reload",
    "reload_preview",
    "drain",
)


def make_admin_site(
    *,
    probes: Probes,
    metrics: Metrics,
    control: Control,
    timeouts: Timeouts,
    idle_s: float,
    clock: IReactorTime,
    access: Access,
    **options: Any,
) -> HttpSite:
    """Return the admin plane; parameters as for :func:`micronode.http.site.make_app_site`.

    :param control: what answers and obeys below ``/api/v1``.
    """
    return HttpSite(
        routes=admin_routes(probes, metrics, control),
        metrics=metrics,
        deadlines=Deadlines.of(timeouts, idle_s),
        clock=clock,
        access=access,
        **options,
    )
