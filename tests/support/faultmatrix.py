"""What callers get of each fault of each owner: the table of ``docs/FAULTS.rst``, and of the test that runs
it.

``python -m tests.support.faultmatrix`` writes the page; ``tests/support/test_faultmatrix.py`` fails when it
is stale, and ``tests/integration/test_fault_matrix.py`` when the node answers otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

PAGE: Final = Path(__file__).parents[2] / "docs" / "FAULTS.rst"

#: What bounds how long it takes until the caller knows.
AT_ONCE: Final = "at once"
ATTEMPT: Final = "owners.NAME.timeout"
HEAD: Final = "facets.NAME.timeout"
GAP: Final = "timeouts.idle"
NOTHING: Final = "nothing, while bytes come"
DECISION: Final = "250 ms"


@attrs.frozen
class Outcome:
    """What a caller gets."""

    #: That of the head, or of the error where there is no head.
    status: int
    #: The error's name; empty: none.
    code: str = ""
    within: str = AT_ONCE
    #: The error comes after the head: the answer breaks off.
    late: bool = False

    @property
    def over_http(self) -> str:
        """In words."""
        return f"{self.status}, then cut" if self.late else self.over_oap

    @property
    def over_oap(self) -> str:
        """In words."""
        if self.late:
            return f"{self.status}, then ``{self.code}``"
        return f"{self.status} ``{self.code}``" if self.code else f"{self.status}"


_GOOD: Final = Outcome(200)
_LIES: Final = Outcome(502, "bad_gateway")
_FORGES: Final = Outcome(502, "integrity_failed")
_STALLS: Final = Outcome(504, "owner_timeout", HEAD)


def _broken(code: str, within: str = AT_ONCE) -> Outcome:
    return Outcome(200, code, within, late=True)


#: Retry-After is the owner's own, a minute here: longer than there is time for another try.
REST: Final = "503:60s"

#: An answer of up to 64 KiB, which the node has whole before the caller gets its head.
_SMALL: Final[Mapping[str, Outcome]] = {
    "refuse": Outcome(503, "owner_unavailable"),
    "reset": _LIES,
    "reset:body": _LIES,
    "stall": Outcome(504, "owner_timeout", ATTEMPT),
    "stall-body": _STALLS,
    "drip": _STALLS,
    "oversize": _LIES,
    "wrong-length": _LIES,
    "wrong-length:long": _LIES,
    "bad-chunk": _LIES,
    "wrong-digest": _GOOD,
    "bad-json": _LIES,
    "500": _LIES,
    REST: Outcome(503, "owner_unavailable"),
}
_OBJECT: Final[Mapping[str, Outcome]] = {
    **_SMALL,
    "oversize": _broken("integrity_failed"),
    "wrong-digest": _FORGES,
    "bad-json": _GOOD,
}
#: One over 64 KiB, whose head has left before its end is known.
_LARGE: Final[Mapping[str, Outcome]] = {
    **_OBJECT,
    "reset:body": _broken("bad_gateway"),
    "stall-body": _broken("owner_timeout", GAP),
    "drip": Outcome(200, within=NOTHING),
    "wrong-length": _broken("bad_gateway"),
    "wrong-length:long": _broken("bad_gateway"),
    "bad-chunk": _broken("bad_gateway"),
    "wrong-digest": _broken("integrity_failed"),
}

#: The same for whatever is wrong with who decides.
_UNJUDGED: Final = Outcome(503, "owner_unavailable")
_UNHEARD: Final = Outcome(503, "owner_unavailable", DECISION)
_POLICY: Final[Mapping[str, Outcome]] = {
    **dict.fromkeys(_SMALL, _UNJUDGED),
    **dict.fromkeys(("stall", "stall-body", "drip"), _UNHEARD),
    # There is no address in a decision.
    "wrong-digest": _GOOD,
}

FAULTS: Final = tuple(_SMALL)


@attrs.frozen
class Row:
    """One call, which needs one owner, and what becomes of it for each fault of that owner."""

    owner: str
    #: A name of ``tests.support.matrixcalls.CALLS``.
    call: str
    #: The call, for readers.
    title: str
    #: Its status when all is well.
    status: int
    outcomes: Mapping[str, Outcome]
    #: For readers, below the table.
    note: str
    #: What is asked meanwhile of another owner, and goes well; empty: no call does.
    other: str = "search"
    #: Settings of the owner, as TOML has them.
    settings: Mapping[str, str] = attrs.field(factory=dict)


ROWS: Final = (
    Row(
        "index",
        "resolve",
        "graph and search",
        200,
        _SMALL,
        "JSON of up to 64 KiB, which is what the node holds, is looked at, then passed on byte for byte;\n"
        "whether that of a longer answer is whole, and what any says, is the index's own word.",
        other="get_small",
    ),
    Row(
        "mailbox",
        "send",
        "feed send",
        201,
        _SMALL,
        "But for ``refuse``, ``500`` and ``503`` the message was sent: send it again under the same\n"
        "``Idempotency-Key``. The node never does.",
    ),
    Row(
        "mailbox",
        "recv",
        "feed recv",
        200,
        _SMALL,
        "The same for ``ack`` and ``nack``, whose answers have no body to go wrong. Messages that were\n"
        "taken and did not reach the caller come again after their ``visibility_ms``. A subscription goes\n"
        "on through faults for 30 s.",
    ),
    Row(
        "storage",
        "get_small",
        "media get, up to 64 KiB",
        200,
        _OBJECT,
        "Every object is held against its address. One that becomes longer than 64 KiB is sent as it comes.",
    ),
    Row(
        "storage",
        "get_large",
        "media get, longer",
        200,
        _LARGE,
        "The piece that would make it whole is held back until the digest matches, so a caller never has\n"
        "all of a wrong object: over HTTP the connection is cut short of ``Content-Length``, over OAP/1 the\n"
        "stream ends with an error instead of its last chunk. An owner that goes on dripping is listened to\n"
        "as long as its caller wants that.",
    ),
    Row(
        "storage",
        "put",
        "media put",
        201,
        {**_SMALL, "wrong-digest": _FORGES},
        "But for ``refuse``, ``500`` and ``503`` the object was stored; putting it once more changes\n"
        "nothing. The node never sends a put twice.",
    ),
    Row(
        "overlay",
        "get_far",
        "media get of what storage has not",
        200,
        _OBJECT,
        "Longer objects as storage's. Where the overlay cannot be asked the answer is its error, not 404:\n"
        "nobody knows whether there is such an object.",
    ),
    Row(
        "policy",
        "search",
        'any call, with ``owners.policy.fail = "closed"``',
        200,
        _POLICY,
        "What was decided before goes on for its ``ttl_s``, and a minute beyond it while nobody answers.\n"
        "The 250 ms are a decision's, whatever ``owners.policy.timeout`` is.",
        other="",
        settings={"fail": "closed"},
    ),
    Row(
        "policy",
        "put",
        'a write, with ``owners.policy.fail = "reads-open"``',
        201,
        _POLICY,
        "Reads go on, which is what goes well meanwhile here; with ``open`` writes do, too.",
        settings={"fail": "reads-open"},
    ),
)

_PAGE_HEAD: Final = """\
Faults of owners, and what callers get
======================================

.. Made by ``python -m tests.support.faultmatrix``, whose table the test runs; not edited by hand.

``tests/integration/test_fault_matrix.py`` runs each row: ``micronode owners --fault OWNER=FAULT``
(``docs/OWNERS.rst``) behind a node, and a call through each door, which must end as the row says. Meanwhile a
call of another owner is answered 200, but where the policy closes everything. Afterwards no socket of the
node leads to that owner, every permit is free, and the log has no traceback.

*Within* is what bounds how long a caller waits for that word. ``owners.NAME.timeout`` and
``facets.NAME.timeout`` (5 s each; the smaller wins) run to the caller's head, which waits for the body of an
answer of up to 64 KiB; ``timeouts.idle`` runs between two pieces of a longer one. What is told *at once* may
have been tried again before, twice within 150 ms (``docs/architecture.rst``, "Owners"). An owner that says
with its 429 or 503 how long it wants to be left alone (``Retry-After``) is tried again no sooner: where one
to two times as long is still within the time of the call, the caller waits for that (``503:1s``: some
seconds), else it is told at once (``503:60s``). Where at least ten calls of an owner ended within a second,
and half of them failed, its breaker opens: then every call of it is 503 ``owner_unavailable``, whatever the
fault.

Every 503 and 429 has ``Retry-After`` (``retry_after_ms``); for the owner's own 503 it is what the owner says.
What callers get of a service of your own behind the node is in ``docs/FACETS.rst``.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_PAGE_HEAD, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    owner = ""
    for row in ROWS:
        if row.owner != owner:
            owner = row.owner
            yield f"\n{owner.capitalize()}\n{'-' * len(owner)}\n"
        lines = [("owner", "fault", "over HTTP", "over OAP/1", "within")]
        lines += [
            (owner, f"``{fault}``", each.over_http, each.over_oap, _within(each.within))
            for fault, each in row.outcomes.items()
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        rule = " ".join("=" * width for width in widths)
        text = [
            " ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        yield f"**{row.title}** ({row.status} when all is well)\n"
        yield from (rule, text[0], rule, *text[1:], rule, "")
        yield f"{row.note}\n"


def _within(text: str) -> str:
    return f"``{text}``" if "." in text else text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
