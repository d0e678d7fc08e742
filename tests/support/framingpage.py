"""``docs/FRAMING.rst``: how a node answers what two parsers could read differently.

``python -m tests.support.framingpage`` writes the page; ``tests/support/test_smuggling.py`` fails when it is
stale, ``tests/http/test_channel_framing.py`` and ``tests/integration/test_smuggling.py`` when a node answers
otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support.smuggling import GROUPS, PAYLOADS

PAGE: Final = Path(__file__).parents[2] / "docs" / "FRAMING.rst"

_INTRODUCTION: Final = """\
Framing: what a node refuses to read twice
==========================================

.. Made by ``python -m tests.support.framingpage``, whose table the tests run; not edited by hand.

Where a request ends, and whose it is, must have one answer. A front end and a node that disagree about it
let one caller put requests into another's connection (request smuggling). So whatever two parsers could
read differently is refused: with **one** answer, 400 ``bad_request`` as a rule, and the connection is
closed, since nobody knows where a next request would begin (RFC 9112, section 11.2). Nothing behind it is
looked at, nothing of it reaches a facet, and the answer does not depend on how the bytes were cut into
packets.

====== ======================== ==============================================================================
status error                    when the connection is closed behind it
====== ======================== ==============================================================================
400    ``bad_request``          always: it is no request, or one that could be read in two ways
404    ``not_found``            where a body was announced: it is refused from the head, and not read
405    ``method_not_allowed``   likewise
408    ``timeout``              always: head or body were not whole in ``timeouts.read`` or ``timeouts.body``
413    ``body_too_large``       always: the body is too long, or the operation takes none
415    ``unsupported_encoding`` where a body was announced, likewise
417    ``expectation_failed``   always: ``Expect`` says anything but ``100-continue``
431    ``head_too_large``       always: a head over 16 KiB, or over 128 fields
====== ======================== ==============================================================================

``100 Continue`` is sent once head and route have passed, right before the node reads the body, and never
for a body that it refuses. What a client sends behind ``Connection: close``, or behind an answer that
closes, is thrown away. Nobody is answered twice.

Each row below is a request and a second one behind it (or hidden in its body), sent in one piece to a
facet of ``kind = "echo"``. ``tests/http/test_channel_framing.py`` sends it whole and byte by byte, in
memory; ``tests/integration/test_smuggling.py`` to a node, and through HAProxy and nginx to the same node,
each once as it is configured by default and once as leniently as it can be: the node never sees a request
that the front end does not know it has sent, and nobody gets an answer that is another's. Two statuses:
both requests are served, as the standard says they are to be. (CL: ``Content-Length``; TE:
``Transfer-Encoding``.)
"""


def page() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for group in GROUPS:
        rows = [(each.name, each.outcome.text) for each in PAYLOADS if each.group == group]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        rule = " ".join("=" * width for width in widths)
        lines = [
            f"{name:<{widths[0]}} {expected}".rstrip() for name, expected in [("sent", "answered"), *rows]
        ]
        parts.append(
            "\n".join([f"\n{group}\n{'-' * len(group)}\n", rule, lines[0], rule, *lines[1:], rule, ""])
        )
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
