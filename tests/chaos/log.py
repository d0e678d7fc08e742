"""A node's log, read as it comes: what happened how often, and what a log never has."""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from typing import Any, Final

#: What a log never has, whatever callers and owners do.
_BAD_NEWS: Final = re.compile(r"Traceback|Unhandled|\"level\":\s*\"critical\"")
_ACCESS: Final = b'"event":"access"'
#: Lines that are kept for who wants to know what came before, and of what is bad.
_TAIL: Final = 200
_MOST_BAD: Final = 100


class Log:
    """What was read of a log.

    :ivar events: how often each event was in it; ``state`` with the state that was entered.
    :ivar latest: the last of each event.
    :ivar addresses: of the listeners that were opened, by name.
    :ivar bad: the first lines that a log never has: tracebacks, defects, and what is no event.
    :ivar tail: the last lines, access lines apart.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.latest: dict[str, dict[str, Any]] = {}
        self.addresses: dict[str, str] = {}
        self.bad: list[str] = []
        self.tail: deque[str] = deque(maxlen=_TAIL)

    def take(self, data: bytes) -> bool:
        """Take a line; return whether it was more than another call."""
        if _ACCESS in data:
            return False
        line = data.decode("utf-8", "replace")
        self.tail.append(line)
        if (_BAD_NEWS.search(line) or not self._note(line)) and len(self.bad) < _MOST_BAD:
            self.bad.append(line)
        return True

    def _note(self, line: str) -> bool:
        try:
            found = json.loads(line)
            event = found["event"]
        except (ValueError, KeyError, TypeError):
            return False
        self.latest[event] = found
        if event == "listening":
            self.addresses[found["listener"]] = found["address"]
        self.events[f"state {found['state']}" if event == "state" else event] += 1
        return True

    @property
    def reloads(self) -> int:
        """How many reloads have ended."""
        ends = ("config_reloaded", "config_unchanged", "config_refused", "config_reload_failed")
        return sum(self.events[name] for name in ends)
