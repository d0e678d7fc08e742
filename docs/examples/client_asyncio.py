"""The same client in an asyncio program: each Deferred becomes a future with ``asFuture``.

Run it against a node (``bin/run_dev.sh`` starts one)::

    .venv/bin/python docs/examples/client_asyncio.py oap://127.0.0.1:5312 twisted

Twisted's reactor runs on the asyncio event loop, so both kinds of code share one thread. Everything a client
returns is a Deferred; ``async for`` and ``async with`` over its streams belong into coroutines of Twisted's
(``Deferred.fromCoroutine(...)``), here their methods are called one by one.
"""

import asyncio
import json
import sys

from twisted.internet import asyncioreactor

# Before anything imports the reactor.
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)

from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from micronode.oap.client import ConnectError, OAPError, connect  # noqa: E402
from micronode.oap.wire.profiles import Profile  # noqa: E402

PIECE = bytes(range(256)) * 256


def future(deferred):
    """Make *deferred* something that asyncio awaits; cancelling it cancels the call."""
    return deferred.asFuture(loop)


async def search(client, word):
    """Return what a search for *word* finds."""
    response = await future(client.call(Profile.SEARCH, "query", {"q": word, "limit": 5}, retry=True))
    return json.loads(await future(response.read(1 << 20)))["hits"]


async def put(client, pieces):
    """Store an object that is made while it is sent; return its address."""
    upload = client.stream(Profile.MEDIA, "put", {})
    try:
        for _ in range(pieces):
            await future(upload.send(PIECE))
        await future(upload.end())
        return json.loads(await future(upload.read()))["cid"]
    finally:
        upload.cancel()


async def get(client, cid):
    """Return how long an object is."""
    size = 0
    download = client.stream(Profile.MEDIA, "get", {"cid": cid}, sends=False)
    try:
        while chunk := await future(download.read()):
            size += len(chunk)
    finally:
        download.cancel()
    return size


async def main(reactor, target="oap://127.0.0.1:5312", word="twisted"):
    """Search, and store, and fetch, all through one client."""
    try:
        client = await future(connect(reactor, target))
    except (ConnectError, OAPError, ValueError) as error:  # nobody there; no node; no target
        return f"no node at {target}: {error}"
    try:
        hits, cid = await asyncio.gather(search(client, word), put(client, 64))
        for hit in hits:
            print(f"{hit['id']:24} {hit['title']}")
        print(f"stored and fetched {await get(client, cid)} bytes")
        task = loop.create_task(get(client, cid))
        await asyncio.sleep(0)  # now it is under way
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            print("and one that was cancelled")
    except (ConnectError, OAPError) as error:  # whatever a call fails with is one of the two
        return f"it failed: {error}"
    finally:
        await future(client.close())
    return None


async def ended(reactor, *args):
    """Run until asyncio's part is done; what it complains of ends the program."""
    complaint = await Deferred.fromFuture(loop.create_task(main(reactor, *args)))
    if complaint is not None:
        raise SystemExit(complaint)


if __name__ == "__main__":
    react(ended, sys.argv[1:])
