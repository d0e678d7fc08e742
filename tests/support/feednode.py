"""A node with a feed in memory, as a process: ``python -m tests.support.feednode [TOPIC=COUNT]...``.

It prints two lines, the addresses of its listeners (``oap://HOST:PORT``, then ``http://HOST:PORT``), and runs
until it is told to stop. TOPIC=COUNT puts messages into a topic: ``message 1``, ``message 2`` and so on.
``--visibility SECONDS`` (30) is how long a message is its subscriber's before it is delivered again;
``--close`` lets subscriptions of the topics named end when they have had all there is.
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet import reactor as installed_reactor

from micronode import Config, make_node
from tests.support.feed import MemoryFeed
from tests.support.mailbox import MemoryMailbox

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


def read_seconds(text: str) -> float:
    """Read a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.feednode",
        description="A node with a feed in memory, to try subscriptions.",
    )
    parser.add_argument(
        "topics",
        nargs="*",
        type=read_topic,
        metavar="TOPIC=COUNT",
        help="put so many messages into a topic: message 1, message 2, ...",
    )
    parser.add_argument(
        "--visibility",
        type=read_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long a message is its subscriber's before it is delivered again (%(default)g)",
    )
    parser.add_argument(
        "--close",
        action="store_true",
        help="end subscriptions of these topics when they have had all there is",
    )
    options = parser.parse_args()
    reactor: Any = installed_reactor
    mailbox = MemoryMailbox(reactor, visibility_s=options.visibility)
    for topic, count in options.topics:
        for number in range(count):
            mailbox.send(topic, f"message {number + 1}".encode(), attrs={"number": str(number + 1)})
        if options.close:
            mailbox.close(topic)
    config = Config.from_mapping(
        {
            "http": LOOPBACK,
            "admin": LOOPBACK,
            "oap": LOOPBACK,
            "owners": {"index": NOWHERE, "storage": NOWHERE},
            "drain": {"grace": "0s"},
        }
    )
    node = make_node(config, reactor, facets=[MemoryFeed(mailbox)])
    node.privilegedStartService()
    node.startService()
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    print(f"oap://{node.addresses['oap']}", flush=True)
    print(f"http://{node.addresses['http']}", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
