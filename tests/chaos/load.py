"""A load with a bound: calls that come when they come, whether or not the ones before are answered.

*Why.* Callers that wait for their answers before they ask again slow down with the node, and never overload
it; the callers of a node in front of others do not know of each other. What is due while this process itself
stood still is dropped, not made up for: that burst would be this machine's, not the callers'.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from tests.chaos.lines import Ended, HttpLine, OapLine
from tests.chaos.tally import Tally
from tests.support.matrixcalls import CALLS, Asked

#: Connections of a door: fewer than a listener takes that nobody has told to take more.
MOST_LINES: Final = 900
#: Seconds after which a call counts as one that is never answered.
PATIENCE_S: Final = 20.0
#: How late a call may be made that is made at all.
_LATE_S: Final = 0.05


@attrs.frozen
class Stream:
    """Calls of one kind, by one door, so many a second."""

    door: str
    call: str
    per_s: float


def both(**per_s: float) -> list[Stream]:
    """Return streams of each named call, so many a second by each door."""
    return [Stream(door, call, rate) for call, rate in per_s.items() for door in ("http", "oap")]


class Door:
    """Where calls go in: keeps connections, and makes one where all that it has are busy."""

    def __init__(
        self, address: str, line: type[HttpLine] | type[OapLine], most_lines: int = MOST_LINES
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._line: Any = line
        self._most_lines = most_lines
        self._lines: set[Any] = set()
        #: Those that have room, the last used last.
        self._free: dict[Any, None] = {}
        self._connecting = 0
        self._written: dict[str, Any] = {name: line.write(asked) for name, asked in CALLS.items()}

    async def call(self, name: str, asked: Asked | None = None) -> Ended:
        """Make a call of the matrix, or *asked*, and return how it ended."""
        line = self._take()
        if line is None:
            if len(self._lines) + self._connecting >= self._most_lines:
                return Ended(lost="not sent")
            self._connecting += 1
            try:
                loop = asyncio.get_running_loop()
                _, line = await asyncio.wait_for(
                    loop.create_connection(self._line, self._host, self._port), PATIENCE_S
                )
            except ConnectionRefusedError:
                return Ended(lost="no listener")
            except (OSError, TimeoutError) as error:
                return Ended(lost=f"no connection: {type(error).__name__}")
            finally:
                self._connecting -= 1
            self._lines.add(line)
        written = self._written[name] if asked is None else self._line.write(asked)
        ending = line.call(written)
        self._file(line)
        try:
            ended: Ended = await asyncio.wait_for(ending, PATIENCE_S)
        except TimeoutError:
            line.close()
            ended = Ended(lost="unanswered")
        self._file(line)
        return ended

    async def leave(self, name: str, after_s: float) -> None:
        """Make a call of the matrix on a connection of its own, and hang up, answered or not."""
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(self._line, self._host, self._port)
        ending = line.call(self._written[name])
        await asyncio.sleep(after_s)
        line.transport.abort()
        await asyncio.wait_for(ending, PATIENCE_S)

    def _take(self) -> Any:
        while self._free:
            line = next(reversed(self._free))
            if line.usable:
                return line
            self._file(line)
        return None

    def _file(self, line: Any) -> None:
        """Put *line* where it belongs by now."""
        self._free.pop(line, None)
        if not line.usable:
            self._lines.discard(line)
        elif line.busy < line.room:
            self._free[line] = None

    def close(self) -> None:
        """Hang up everywhere."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._free.clear()


class Load:
    """Calls a node by both doors."""

    def __init__(self, addresses: Mapping[str, str], seed: int = 1, *, most_lines: int = MOST_LINES) -> None:
        """:param addresses: ``http`` and ``oap`` -> HOST:PORT.
        :param most_lines: connections of each door.
        """
        self.doors = {
            "http": Door(addresses["http"], HttpLine, most_lines),
            "oap": Door(addresses["oap"], OapLine, most_lines),
        }
        self._random = random.Random(seed)
        self._calls: set[asyncio.Task[None]] = set()

    async def offer(self, streams: Iterable[Stream], seconds: float, tally: Tally) -> None:
        """Make the calls of *streams* for *seconds*; those made last may have no answer yet."""
        began = time.perf_counter()
        await asyncio.gather(*(self._offer(stream, seconds, tally) for stream in streams))
        tally.seconds += time.perf_counter() - began

    async def keep(self, streams: Mapping[tuple[str, str], int], seconds: float, tally: Tally) -> None:
        """Let so many callers of each kind ask again and again, each after its answer.

        :param streams: door and call -> how many.
        """
        began = time.perf_counter()
        until = began + seconds

        async def ask(door: str, call: str) -> None:
            while time.perf_counter() < until:
                await self._count(door, call, tally)

        await asyncio.gather(
            *(ask(door, call) for (door, call), count in streams.items() for _ in range(count))
        )
        tally.seconds += time.perf_counter() - began

    async def leave(self, streams: Iterable[Stream], seconds: float, longest_s: float) -> None:
        """Let callers of *streams* ask for *seconds*, each of whom hangs up within *longest_s*."""

        async def leave(stream: Stream) -> None:
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                leaving = self.doors[stream.door].leave(stream.call, self._random.uniform(0, longest_s))
                call = asyncio.ensure_future(leaving)
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
                await asyncio.sleep(self._random.expovariate(stream.per_s))

        await asyncio.gather(*map(leave, streams))

    async def settle(self) -> None:
        """Return when every call has ended."""
        while self._calls:
            await asyncio.wait(self._calls)

    def close(self) -> None:
        """Hang up everywhere."""
        for door in self.doors.values():
            door.close()

    async def _offer(self, stream: Stream, seconds: float, tally: Tally) -> None:
        now = began = time.perf_counter()
        due = now + self._random.expovariate(stream.per_s)
        while due < began + seconds:
            # Turns are given up also where there is no time: others are due, answers come in.
            await asyncio.sleep(max(0.0, due - now))
            now = time.perf_counter()
            if now - due < _LATE_S:
                call = asyncio.ensure_future(self._count(stream.door, stream.call, tally))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            else:
                tally.dropped += 1
            due += self._random.expovariate(stream.per_s)

    async def call(self, door: str, call: str) -> tuple[Ended, float]:
        """Make a call of the matrix; return how it ended, and how many seconds it took."""
        began = time.perf_counter()
        ended = await self.doors[door].call(call)
        return ended, time.perf_counter() - began

    async def _count(self, door: str, call: str, tally: Tally) -> None:
        tally.add(door, call, *await self.call(door, call))
