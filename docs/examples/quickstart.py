"""A node inside a program of your own: embed it, ask it something, stop it in order.

Run it beside the reference owners, which give it something to answer from::

    .venv/bin/micronode owners &
    .venv/bin/python docs/examples/quickstart.py twisted

What it shows: the configuration is a value, the node is an ``IService``, port 0 works because the node
says where it was bound, and stopping returns a Deferred that fires when calls in flight are done.
"""

import json
import sys

import treq
from twisted.application.service import MultiService
from twisted.internet.task import react

from micronode import Config, make_node


async def main(reactor, query="twisted", index="http://127.0.0.1:5321"):
    """Search for *query* through a node of our own and print the titles found."""
    node = make_node(
        Config.from_mapping(
            {
                "http": {"listen": "127.0.0.1:0"},
                "admin": {"listen": "127.0.0.1:0"},
                "oap": {"listen": "off"},
                "owners": {"index": {"url": index}},
                "drain": {"grace": "0s"},
            }
        ),
        reactor,
    )
    program = MultiService()
    node.setServiceParent(program)
    program.startService()
    try:
        url = f"http://{node.addresses['http']}/app/search"
        response = await treq.get(url, params={"q": query, "limit": "5"}, timeout=10)
        answer = json.loads(await response.text())
        if response.code != 200:
            raise SystemExit(f"{answer['code']}: {answer['message']}")
        for hit in answer["hits"]:
            print(f"{hit['id']:24} {hit['title']}")
    finally:
        await program.stopService()


if __name__ == "__main__":
    react(main, sys.argv[1:])
