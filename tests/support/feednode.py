"""A node before a mailbox in memory, as one process: ``python -m tests.support.feednode [TOPIC=COUNT]...``.

It prints two lines, the addresses of its listeners (``oap://HOST:PORT``, then ``http://HOST:PORT``), and runs
until it is told to stop. TOPIC=COUNT puts messages into a topic: ``message 1``, ``message 2`` and so on.
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet import reactor as installed_reactor

from micronode import Config, make_node
from tests.support.mailbox import ListeningMailbox

#: Messages of a topic at most: they are made, and kept, in memory.
MAX_COUNT = 100_000
LOOPBACK = {"listen": "127.0.0.1:0"}
NOWHERE = {"url": "unix:/nowhere/owner"}


def read_topic(text: str) -> tuple[str, int]:
    """Read TOPIC=COUNT."""
    topic, _, count = text.rpartition("=")
    if not (topic and count.isascii() and count.isdigit() and int(count[:9]) <= MAX_COUNT):
        raise argparse.ArgumentTypeError(f"{text!r} is not TOPIC=COUNT, with a count from 0 to {MAX_COUNT}")
    return topic, int(count)


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.feednode",
        description="A node before a mailbox in memory, to try subscriptions.",
    )
    parser.add_argument(
        "topics",
        nargs="*",
        type=read_topic,
        metavar="TOPIC=COUNT",
        help="put so many messages into a topic: message 1, message 2, ...",
    )
    options = parser.parse_args()
    reactor: Any = installed_reactor
    mailbox = ListeningMailbox(reactor)
    for topic, count in options.topics:
        for number in range(count):
            mailbox.box.send(topic, f"message {number + 1}".encode(), attrs={"number": str(number + 1)})
    config = Config.from_mapping(
        {
            "http": LOOPBACK,
            "admin": LOOPBACK,
            "oap": LOOPBACK,
            "owners": {"index": NOWHERE, "storage": NOWHERE, "mailbox": {"url": mailbox.url}},
            "drain": {"grace": "0s"},
        }
    )
    node = make_node(config, reactor)
    node.privilegedStartService()
    node.startService()
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    print(f"oap://{node.addresses['oap']}", flush=True)
    print(f"http://{node.addresses['http']}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
