"""OAP/1 callers for tests of rolling restarts: a program of its own, since they need a reactor.

``python -m tests.support.rolling_oap HOST:PORT COUNT AT_A_TIME PAUSE_S``: so many clients call, each so many
times at a time, until the program is told to end by the end of its standard input; then it prints one JSON
object of what came of the calls, ``{"ok": 17, ...}``. Nothing is repeated.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet import stdio
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from micronode.oap.client import OAPError, connect
from micronode.oap.wire.profiles import Profile

reactor: Any = _reactor


class Callers(Protocol):
    """Calls until standard input ends."""

    def __init__(self, target: str, count: int, at_a_time: int, pause_s: float) -> None:
        self.seen: Counter[str] = Counter()
        self._over = False
        self._pause_s = pause_s
        running = [Deferred.fromCoroutine(self._client(target, at_a_time)) for _ in range(count)]
        gatherResults(running).addBoth(self._end)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._over = True

    async def _client(self, target: str, at_a_time: int) -> None:
        client = await connect(reactor, f"oap://{target}")
        await gatherResults([Deferred.fromCoroutine(self._call(client)) for _ in range(at_a_time)])
        await client.close()

    async def _call(self, client: Any) -> None:
        while not self._over:
            try:
                response = await client.call(Profile.SEARCH, "query", {"q": "x"})
                await response.read(65_536)
                self.seen["ok"] += 1
            except OAPError as error:
                self.seen[f"{error.name}: {error.message}"] += 1
            except ConnectError as error:
                self.seen[repr(error)] += 1
            await deferLater(reactor, self._pause_s)

    def _end(self, result: object) -> None:
        if isinstance(result, Failure):
            self.seen[f"died: {result.value!r}"] += 1
        print(json.dumps(self.seen), flush=True)
        reactor.stop()


if __name__ == "__main__":
    stdio.StandardIO(Callers(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
    reactor.run()
