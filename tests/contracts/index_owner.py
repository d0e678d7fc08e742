"""What every IIndexOwner promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.facets.search import SearchFacet
from micronode.interfaces import IIndexOwner
from tests.support.calls import make_call, operation_of
from tests.support.owners import StubReply

#: What may be asked: the text, and the rest.
ASKED: Final[dict[str, tuple[str, dict[str, int]]]] = {
    "resolve": ("name:klein", {}),
    "providers": ("b3:" + "0" * 64, {"limit": 2}),
    "search": ("fast reactor?", {"limit": 5, "offset": 10}),
    "neighbors": ("klein", {"hops": 2, "max_neighbors": 9}),
}


class IndexOwnerContract:
    """Subclasses have ``make_owner(reply)``: a new one whose service answers with *reply*."""

    def ask(self, op: str, reply: StubReply | NodeError, text: str | None = None) -> Deferred[Any]:
        case: Any = self
        owner = case.make_owner(reply)
        verifyObject(IIndexOwner, owner)
        call = make_call(operation_of(SearchFacet(owner), "query"), {"q": "x"})
        usual, rest = ASKED[op]
        waiting: Deferred[Any] = getattr(owner, op)(call, usual if text is None else text, **rest)
        return waiting

    def test_any_status_is_an_answer(self) -> None:
        case: Any = self
        for op in ASKED:
            for status in (200, 404, 500, 503):
                reply = StubReply(status, b"{}")
                case.assertIs(case.successResultOf(self.ask(op, reply)), reply)

    def test_who_cannot_be_asked(self) -> None:
        case: Any = self
        for op in ASKED:
            waiting = self.ask(op, NodeError(ErrorCode.OWNER_UNAVAILABLE, "down", retry_after_s=1.0))
            error = case.failureResultOf(waiting, NodeError).value
            case.assertIs(error.code, ErrorCode.OWNER_UNAVAILABLE)

    def test_what_cannot_be_a_segment_of_a_path(self) -> None:
        case: Any = self
        for op in ASKED:
            for text in (".", ".."):
                error = case.assertRaises(NodeError, self.ask, op, StubReply(), text)
                case.assertIs(error.code, ErrorCode.BAD_REQUEST)
