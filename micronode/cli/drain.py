"""``micronode drain``: tell a running node to stop in order."""

from __future__ import annotations

from collections.abc import Sequence

from micronode.cli.adminclient import AdminOptions, show_json, text_of
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import show


def main(argv: Sequence[str]) -> int:
    """Begin the drain.

    :return: 0 once it has begun.
    :raises CommandError: usage; nothing is reached (69); the node refuses (1).
    """
    options = AdminOptions(
        "micronode drain",
        "Tell the node to stop in order: it says that it is not ready, gives load balancers drain.grace to "
        "notice and its calls drain.deadline to finish, and ends. The command does not wait for that. Exit "
        "codes: 0 the drain has begun, 1 the node refuses, 69 nothing is reached.",
    )
    options.parse(argv)
    node = options.node()
    status, answer = node.ask("POST", "/api/v1/drain")
    if status != 200 or "state" not in answer:
        if "message" not in answer:
            raise node.puzzled()
        raise CommandError(Exit.FAILED, f"{node.where}: {text_of(answer['message'])}")
    if options["json"]:
        show_json(answer)
    else:
        show(f"{node.where} is {text_of(answer['state'])}; it ends when its calls have, or their time has")
    return Exit.DONE
