"""How late this process itself is: nobody's times say much on a machine that is busy with something else."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

#: Where a process goes on so late after a pause, so do others: then times are not judged.
BUSY_MS: Final = 5.0
_EVERY_S: Final = 0.05
#: Pauses that are remembered: a few minutes'.
_LATEST: Final = 4_000


class Lateness:
    """Pauses again and again, and notes how late it goes on. Times are those of ``time.monotonic``."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=_LATEST)

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(_EVERY_S)
            now = time.monotonic()
            self._late.append((now, now - began - _EVERY_S))

    def ms(self, since: float) -> float:
        """Return by how many milliseconds nine pauses in ten were late at most, of those since then."""
        late = sorted(late_s for at, late_s in self._late if at >= since)
        return late[len(late) * 9 // 10] * 1000 if late else 0.0
