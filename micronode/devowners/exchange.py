"""What an owner does with a request: a route, decided from the head, and the exchange that answers.

The exchange gets the request body piece by piece while it arrives, and answers when all of it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from micronode.errors import ErrorCode, NodeError

if TYPE_CHECKING:
    from micronode.devowners.request import OwnerRequest


class Exchange:
    """One request that has a route. Subclasses answer it.

    :ivar route: its name in the log.
    :ivar max_body_bytes: a longer request body is refused.
    """

    route = "other"
    max_body_bytes = 0

    def __init__(self, request: OwnerRequest) -> None:
        self.request = request

    def body(self, data: bytes) -> None:
        """Take a piece of the request body."""

    def answer(self) -> Deferred[None] | None:
        """Answer; the request is whole.

        :return: a Deferred where it takes time; its failure becomes the answer.
        :raises NodeError: becomes the answer.
        """
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of everything: the request was refused after all, or the caller has gone. Called once."""


class Owner:
    """What one owner serves: its name, whether it is loaded, and its routes."""

    name = ""

    def __init__(self) -> None:
        self.is_ready = False

    def route(self, request: OwnerRequest) -> Exchange:
        """Return the exchange for *request*, of which the head is there.

        :raises NodeError: ``not_found``, ``bad_request``, ``method_not_allowed``, ``not_ready``.
        """
        name, *keys = request.segments
        if name in ("healthz", "readyz") and not keys:
            request.allow(b"GET", b"HEAD")
            return _Health(request, self.is_ready if name == "readyz" else None)
        if not self.is_ready:
            raise NodeError(
                ErrorCode.NOT_READY, f"the {self.name} owner is still loading; ask again in a second"
            )
        return self.find(request, name, keys)

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for one of the owner's own routes.

        :raises NodeError: as :meth:`route`.
        """
        raise NotImplementedError

    def stop(self) -> bool:
        """The process is about to stop: answer whoever waits. :return: whether anybody did."""
        return False


class _Health(Exchange):
    route = "health"

    def __init__(self, request: OwnerRequest, is_ready: bool | None) -> None:
        super().__init__(request)
        self._is_ready = is_ready

    def answer(self) -> None:
        if self._is_ready is None:
            self.request.reply({"ok": True})
        elif self._is_ready:
            self.request.reply({"ready": True})
        else:
            self.request.set_header(b"Retry-After", b"1")
            self.request.reply({"ready": False}, status=503)
