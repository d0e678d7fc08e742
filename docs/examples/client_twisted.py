"""An OAP/1 client in a Twisted program: calls, bodies piece by piece, errors.

Run it against a node (``bin/run_dev.sh`` starts one)::

    .venv/bin/python docs/examples/client_twisted.py oap://127.0.0.1:5312 twisted

What it shows: one client for many calls at once; ``retry`` for what the node was too busy to do; a stream
that sends as fast as the node takes it, and one that is read as it comes; how errors are caught.
"""

import json
import sys

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.task import react

from micronode.oap.client import ConnectError, OAPError, connect
from micronode.oap.wire.profiles import Profile

PIECE = bytes(range(256)) * 256


async def search(client, word):
    """Return what a search for *word* finds."""
    asked = client.call(Profile.SEARCH, "query", {"q": word, "limit": 5}, deadline_ms=5000, retry=True)
    response = await asked
    return json.loads(await response.read(1 << 20))["hits"]


async def put(client, pieces):
    """Store an object that is made while it is sent; return its address."""
    async with client.stream(Profile.MEDIA, "put", {}) as upload:
        for _ in range(pieces):
            await upload.send(PIECE)  # waits while the node has no room for more
        await upload.end()
        return json.loads(b"".join([chunk async for chunk in upload]))["cid"]


async def get(client, cid):
    """Return how long an object is; never more than a window of it is held here."""
    size = 0
    async with client.stream(Profile.MEDIA, "get", {"cid": cid}, sends=False) as download:
        async for chunk in download:
            size += len(chunk)
    return size


async def main(reactor, target="oap://127.0.0.1:5312", word="twisted"):
    """Search, and store, and fetch, all through one client."""
    try:
        client = await connect(reactor, target)
    except (ConnectError, OAPError, ValueError) as error:  # nobody there; no node; no target
        raise SystemExit(f"no node at {target}: {error}") from None
    try:
        hits, cid = await gatherResults(
            [Deferred.fromCoroutine(search(client, word)), Deferred.fromCoroutine(put(client, 64))],
            consumeErrors=True,
        )
        for hit in hits:
            print(f"{hit['id']:24} {hit['title']}")
        print(f"stored and fetched {await get(client, cid)} bytes")
        try:
            await get(client, "b3:" + "0" * 64)
        except OAPError as error:
            print(f"and of what is not there: {error.name}")
    except FirstError as first:  # of the two that were gathered
        raise SystemExit(f"it failed: {first.subFailure.value}") from None
    except (ConnectError, OAPError) as error:  # whatever a call fails with is one of the two
        raise SystemExit(f"it failed: {error}") from None
    finally:
        await client.close()


if __name__ == "__main__":
    react(main, sys.argv[1:])
