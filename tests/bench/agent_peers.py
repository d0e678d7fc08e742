"""One way of asking an owner, in a process of its own: what ``tests.bench.bench_agent`` measures.

    python tests/bench/agent_peers.py WAY URL

Each line on its standard input is a number of GETs, or ``profile`` and a number; it makes them, eight at a
time over kept connections, and prints one line of JSON: ``{"cpu": seconds}``, or ``{"shares": …}``. The
package that it measures is the one on its path, so that it runs against an older one, too.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

reactor: Any = installed_reactor
BODY_BYTES: Final = 1024
_AT_ONCE: Final = 8
#: Part -> what the path of its modules has; the first that fits counts.
_PARTS: Final = {
    "the response's head (httptools, one expression)": ("/answerhead.py",),
    "the request's head": ("/requesthead.py", "/http_headers.py"),
    "connection, pool, body": ("/micronode/adapters/", "/micronode/concurrency/"),
    "metrics": ("/micronode/observability/", "/prometheus_client/"),
    "Twisted: its HTTP client": ("/twisted/web/", "/twisted/protocols/"),
    "Twisted: Deferreds and Failures": ("/twisted/internet/defer.py", "/twisted/python/failure.py"),
    "Twisted: reactor and transport": ("/twisted/",),
    "the bench": ("/tests/bench/",),
}
_KERNEL: Final = "the kernel: sockets and epoll"
Ask = Callable[[], Deferred[int]]


class _Reader(Protocol):
    """Counts a body."""

    def __init__(self) -> None:
        self.length = 0
        self.done: Deferred[int] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.length += len(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.done.callback(self.length)


def exchange(url: str) -> Ask:
    """Ask by OwnerAgent.exchange: no deadline, no slot, no metrics."""
    from micronode.adapters.agent import OwnerAgent
    from micronode.config.url import OwnerUrl

    agent = OwnerAgent(reactor, OwnerUrl.parse(url), connections=_AT_ONCE)

    def read(response: Any) -> Deferred[int]:
        reader = _Reader()
        response.deliverBody(reader)
        return reader.done

    def headers() -> Any:
        fields = [(b"accept-encoding", b"identity"), (b"x-request-id", b"0123456789abcdef")]
        if takes_pairs:
            return fields
        made = Headers()
        for name, value in fields:
            made.addRawHeader(name, value)
        return made

    # Before, it took nothing but Twisted's Headers.
    takes_pairs = "Iterable" in str(OwnerAgent.exchange.__annotations__["headers"])

    def ask() -> Deferred[int]:
        return agent.exchange(b"GET", b"/x", headers()).head.addCallback(read)

    return ask


def call(url: str) -> Ask:
    """Ask by OwnerClient.call, as facets do: slot, deadlines and metrics with it."""
    from micronode.adapters.build import make_owner_client
    from micronode.config.schema import Owner, Timeouts
    from micronode.observability.metrics import Metrics

    metrics = Metrics(facets=(), owners=("index",), states=(), build={"version": "0"})
    client = make_owner_client("index", Owner(url=(url,)), Timeouts(), reactor, metrics)
    fields = [(b"x-request-id", b"0123456789abcdef")]

    def ask() -> Deferred[int]:
        called = client.call(b"GET", b"/x", headers=fields)
        return called.addCallback(lambda reply: reply.read(1 << 20)).addCallback(len)

    return ask


def twisted(url: str) -> Ask:
    """Ask by Twisted's Agent, with a pool that keeps as many connections."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = _AT_ONCE
    agent = Agent(reactor, pool=pool)
    target = f"{url}/x".encode()

    def ask() -> Deferred[int]:
        headers = Headers()
        headers.addRawHeader(b"accept-encoding", b"identity")
        headers.addRawHeader(b"x-request-id", b"0123456789abcdef")
        return agent.request(b"GET", target, headers).addCallback(readBody).addCallback(len)

    return ask


class _Bare(Protocol):
    """Writes a request, and takes whatever ends as its answer does for that."""

    waiting: Deferred[int]

    def dataReceived(self, data: bytes) -> None:
        self.waiting.callback(BODY_BYTES)


def bare(url: str) -> Ask:
    """Write and read, and look at nothing: what Twisted's reactor and the kernel take in any case."""
    host, port = url.removeprefix("http://").split(":")
    idle: list[_Bare] = []
    request = (
        f"GET /x HTTP/1.1\r\nHost: {host}:{port}\r\nAccept-Encoding: identity\r\n"
        "X-Request-ID: 0123456789abcdef\r\n\r\n"
    ).encode()

    def ask() -> Deferred[int]:
        waiting: Deferred[int] = Deferred()

        def send(connection: _Bare) -> None:
            connection.waiting = waiting
            connection.transport.write(request)

        def answered(length: int, connection: _Bare) -> int:
            idle.append(connection)
            return length

        if idle:
            connection = idle.pop()
            waiting.addCallback(answered, connection)
            send(connection)
        else:
            connecting = connectProtocol(TCP4ClientEndpoint(reactor, host, int(port)), _Bare())
            connecting.addCallback(lambda made: (waiting.addCallback(answered, made), send(made)))
        return waiting

    return ask


WAYS: Final = {way.__name__: way for way in (exchange, call, twisted, bare)}


async def _many(ask: Ask, count: int) -> None:
    left = count

    async def one_after_the_other() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            assert await ask() == BODY_BYTES

    await gatherResults([Deferred.fromCoroutine(one_after_the_other()) for _ in range(_AT_ONCE)])


def _shares(profile: cProfile.Profile) -> dict[str, float]:
    """Return part -> its share. What is written in C counts for whoever called it, sockets for the kernel."""
    spent: Counter[str] = Counter()
    stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (path, _, name), (_, _, own, _, callers) in stats.items():
        if path != "~":
            spent[_part(path)] += own
        elif "_socket.socket" in name or "select." in name:
            spent[_KERNEL] += own
        else:
            for (caller, _, _), (_, _, for_caller, _) in callers.items():
                spent[_part(caller)] += for_caller
    total = sum(spent.values())
    return {part: round(seconds / total, 3) for part, seconds in spent.most_common()}


def _part(path: str) -> str:
    return next((part for part, words in _PARTS.items() if any(word in path for word in words)), "the rest")


async def _serve(way: str, url: str) -> None:
    ask = WAYS[way](url)
    for line in sys.stdin:
        *what, count = line.split()
        # Whatever has closed meanwhile is opened again before it is measured.
        await _many(ask, 4 * _AT_ONCE)
        if what:
            profile = cProfile.Profile(time.process_time)
            profile.enable()
            await _many(ask, int(count))
            profile.disable()
            print(json.dumps({"shares": _shares(profile)}), flush=True)
        else:
            began = time.process_time()
            await _many(ask, int(count))
            print(json.dumps({"cpu": time.process_time() - began}), flush=True)


def main() -> None:
    """Serve until the input ends."""
    way, url = sys.argv[1:]

    def over(result: object) -> None:
        if isinstance(result, Failure):
            result.printTraceback(sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(_serve(way, url)).addBoth(over))
    reactor.run()


if __name__ == "__main__":
    main()
