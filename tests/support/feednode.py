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

LOOPBACK = {"listen": "127.0.0.1:0"}
NOWHERE = {"url": "unix:/nowhere/owner"}


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="feednode")
    parser.add_argument("topics", nargs="*", metavar="TOPIC=COUNT")
    parser.add_argument("--visibility", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--close", action="store_true")
    options = parser.parse_args()
    reactor: Any = installed_reactor
    mailbox = MemoryMailbox(reactor, visibility_s=options.visibility)
    for each in options.topics:
        topic, _, count = each.partition("=")
        for number in range(int(count)):
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
