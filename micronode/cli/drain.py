"""``micronode drain``: tell a running node to stop in order."""

from __future__ import annotations

from collections.abc import Sequence

from micronode.cli.adminclient import show_json, text_of
from micronode.cli.adminoptions import AdminOptions
from micronode.cli.exits import Exit
from micronode.cli.streams import show


def main(argv: Sequence[str]) -> int:
    """Begin the drain.

    :return: 0 once it has begun.
    :raises CommandError: usage; no micronode is reached (69); the node refuses (1).
    """
    options = AdminOptions(
        "micronode drain",
        "Tell the node to stop in order: it says that it is not ready, gives load balancers drain.grace to "
        "notice and its calls drain.deadline to finish, and ends. The command does not wait for that. Exit "
        "codes: 0 the drain has begun, 1 the node refuses, 69 no micronode is reached. This release, which "
        "has no capabilities yet, answers 401: send SIGTERM to the node's process instead.",
    )
    options.parse(argv)
    with options.errors_as_json():
        node = options.node()
        answer = node.order("POST", "/api/v1/drain", "state")
    if options["json"]:
        show_json(answer)
    else:
        show(f"{node.where} is {text_of(answer['state'])}; it ends when its calls have, or their time has")
    return Exit.DONE
