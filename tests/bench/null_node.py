"""A node with a facet that does nothing, and bare Twisted protocols to measure it by.

    python -m tests.bench.null_node KIND [--cpu N] [--traced]

It is the node that ``make_node`` builds, with a facet of a host's own, and three things of this process
alone: its timeouts are long, PINGs may come as fast as they like, and it has no access log unless KIND is
``logging``. It prints ``{"port": N}``, a port of 127.0.0.1, and answers each line on its standard input with
one of JSON: ``memory`` (resident and traced bytes, CPU seconds), ``go`` (the downloads begin) or ``profile``
(begin one; the second time: end it, with the shares of the parts). It ends with its input.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import struct
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any, Final

from twisted.internet import protocol, reactor, stdio
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from micronode import Config, make_node
from micronode import node as product
from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, BodyRule, Operation
from micronode.facets.hosted import FacetSettings
from micronode.interfaces import IFacet, IReplyBody, IResponseSink
from micronode.oap import liveness
from micronode.oap.wire.frames import END, RESP, START
from micronode.oap.wire.limits import HEADER_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.observability.logging import start_logging
from tests.bench.shares import Shares

_CALLS: Final = 65_536
_CHUNK_BYTES: Final = 65_536
#: Nothing here is ended for being slow: what is held is what is measured.
_PATIENCE_S: Final = 600.0
_clock: Any = reactor


@implementer(IReplyBody, IPushProducer)
class Endless:
    """A body without an end: 64 KiB each turn of the reactor, while the caller takes them."""

    def __init__(self) -> None:
        self._paused = False
        self._sink: Any = None
        self._over: Deferred[None] = Deferred(lambda _: self.stopProducing())

    def relay(self, head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        self._sink = sink
        sink.start(head)
        self._sink.registerProducer(self, True)
        self._produce()
        return self._over

    def _produce(self) -> None:
        if self._sink is not None and not self._paused:
            self._sink.write(bytes(_CHUNK_BYTES))
            _clock.callLater(0, self._produce)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._produce()

    def stopProducing(self) -> None:
        self._sink = None

    def abort(self) -> None:
        self.stopProducing()


@implementer(IFacet)
class NullFacet:
    """Its operations: ``null`` answers at once, ``sink`` takes no body, ``source`` answers without end."""

    name = "null"

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def operations(self) -> list[Operation]:
        """Return its rows of the table."""
        put: dict[str, Any] = {"body": BodyRule.STREAMED, "max_body": 1 << 40, "method": "POST"}
        return [
            self._operation("null", self.null),
            self._operation("sink", self.sink, **put),
            self._operation("source", self.source),
        ]

    def _operation(self, op: str, handler: Any, method: str = "GET", **rest: Any) -> Operation:
        return Operation(
            name=f"{self.name}.{op}",
            facet=self.name,
            method=method,
            path=f"/app/{self.name}/{op}",
            profile=Profile.CUSTOM,
            op=op,
            access=Access.READ,
            handler=handler,
            **rest,
        )

    async def null(self, call: Call) -> Reply:
        """Answer without a body."""
        return Reply(head=ResponseHead())

    async def sink(self, call: Call) -> Reply:
        """Take nothing, and never answer."""
        await Deferred()
        return Reply(head=ResponseHead())

    async def source(self, call: Call) -> Reply:
        """Answer when told to."""
        go: Deferred[None] = Deferred()
        self._waiting.append(go)
        await go
        return Reply(head=ResponseHead(), body=Endless())

    def go(self) -> int:
        """Let the downloads begin; return how many there are."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
        return len(waiting)


def start_node(facet: NullFacet, *, logging: bool) -> int:
    """Start the node; return the port of its OAP listener.

    :param logging: write the log, access log and all, as JSON lines, to nowhere.
    """
    # As many as come: a rate over no time at all. What is done for each stays the same.
    liveness._PINGS_S = 0.0  # type: ignore[misc]
    if logging:
        start_logging(Path(os.devnull).open("w"), "info", "json", _clock)  # noqa: SIM115 (as long as we)
    else:
        product._access = lambda fields: None
    config = {
        "http": {"listen": "off"},
        "admin": {"listen": "127.0.0.1:0"},
        "oap": {"listen": "127.0.0.1:0"},
        "owners": {name: {"url": "unix:/nowhere/owner"} for name in ("index", "storage")},
        "timeouts": dict.fromkeys(("idle", "stall", "stream_idle", "write_stall"), _PATIENCE_S),
    }
    settings = FacetSettings(limit=_CALLS, timeout=_PATIENCE_S)
    node = make_node(Config.from_mapping(config), _clock, facets=[(facet, settings)])
    node.startService()
    return int(node.addresses["oap"].rpartition(":")[2])


class Bare(protocol.Protocol):
    """What Twisted alone can do: parses each header, and answers each frame, in one write a read."""

    _header = struct.Struct(">IHHHH16sHQ")
    _answer = b'{"status":200}'

    def connectionMade(self) -> None:
        self._begun = b""

    def dataReceived(self, data: bytes) -> None:
        data = self._begun + data
        header, said, at, size = self._header, [], 0, len(data)
        while size - at >= HEADER_BYTES:
            length, version, _flags, _code, app, tenant, cap, corr_id = header.unpack_from(data, at)
            if size - at < length:
                break
            payload = self.answer(data[at + HEADER_BYTES + cap : at + length])
            total = HEADER_BYTES + len(payload)
            said.append(header.pack(total, version, RESP | START | END, 200, app, tenant, 0, corr_id))
            said.append(payload)
            at += length
        self._begun = data[at:]
        self.transport.write(b"".join(said))  # type: ignore[union-attr]

    def answer(self, payload: bytes) -> bytes:
        """Return the head of an answer."""
        return self._answer


class BareEcho(Bare):
    """The same with what came sent back, as a PING's payload is."""

    def answer(self, payload: bytes) -> bytes:
        return payload


class BareJSON(Bare):
    """The same with the heads read and written as JSON, by the standard library, unchecked."""

    def answer(self, payload: bytes) -> bytes:
        if payload.startswith(b'{"op"'):
            assert json.loads(payload)["op"]
        return json.dumps({"status": 200}, separators=(",", ":")).encode()


BARE: Final = {"bare": Bare, "echo": BareEcho, "json": BareJSON}


class Control(LineOnlyReceiver):
    """Answers the lines on standard input."""

    delimiter = b"\n"

    def __init__(self, facet: NullFacet) -> None:
        self._facet = facet
        self._shares: Shares | None = None

    def lineReceived(self, line: bytes) -> None:
        answer: Any
        if line == b"go":
            answer = self._facet.go()
        elif line == b"profile":
            answer = self._profiled()
        else:
            answer = measure()
        self.sendLine(json.dumps(answer).encode())

    def _profiled(self) -> dict[str, float]:
        """Begin a profile, or end it and return it."""
        shares, self._shares = self._shares, None
        if shares is not None:
            return shares.end()
        self._shares = Shares()
        return {}

    def connectionLost(self, reason: object = None) -> None:
        if _clock.running:
            _clock.stop()


def measure() -> dict[str, float]:
    """Return what this process takes now, in bytes and seconds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return {
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "traced": tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0,
        "cpu_s": time.process_time(),
    }


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kind", choices=("node", "logging", *BARE))
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--traced", action="store_true")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    facet = NullFacet()
    if options.kind in BARE:
        factory = protocol.Factory.forProtocol(BARE[options.kind])
        port = _clock.listenTCP(0, factory, backlog=1024, interface="127.0.0.1").getHost().port
    else:
        port = start_node(facet, logging=options.kind == "logging")
    if options.traced:
        tracemalloc.start()
    stdio.StandardIO(Control(facet))
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    _clock.run()


if __name__ == "__main__":
    main()
