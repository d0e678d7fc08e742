"""A world of calls with a reloader: several reloads, of which one is worked on at a time, and the drain.

The reloader is the node's own, and so is what it puts in force: a snapshot with another limit for the gate.
What it reads from is the world's, which says when reading ends, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from micronode.bus import ConfigUpdated, EventBus, ReloadEnded, ReloadStarted
from micronode.config.hot_reload import Outcome
from micronode.config.problems import ConfigError, Problem
from micronode.config.reloader import Reloader
from micronode.config.schema import Config
from micronode.config.sources import Loaded
from tests.interleavings.calls import METRICS, Calls

#: They take longer to make than a world.
_CONFIGS: Final = {
    limit: Config.from_mapping({"facets": {"search": {"limit": limit}}}) for limit in range(1, 4)
}
_WRONG: Final = Problem("search.toml", "no such key", "see docs/CONFIG.rst")


class Reloads(Calls):
    """See the module's docstring.

    :param reloads: how many are asked for; each reads the limit that is one higher than the one before.
    :param wrong: whether what is read may be wrong.
    """

    def __init__(
        self,
        *,
        reloads: int = 2,
        wrong: bool = True,
        reloader: Callable[..., Reloader] = Reloader,
        **settings: Any,
    ) -> None:
        self.config = _CONFIGS[1]
        super().__init__(**settings)
        self._asking = reloads
        self._wrong = wrong
        self._readings: list[Deferred[Loaded]] = []
        self._told: list[Outcome] = []
        self._asked = 0
        self._read_limit = 1
        self._closed = False
        self._bus = EventBus()
        self._heard = self._bus.subscribe()
        self._reloader = reloader(self, read=self._read, bus=self._bus, metrics=METRICS, wall=lambda: 0.0)

    def enabled(self) -> Sequence[str]:
        """See :class:`~tests.interleavings.explorer.World`."""
        events = [*super().enabled()]
        if self._asked < self._asking and not self._closed:
            events.append("reload")
        if self._readings:
            events.append("reading ends")
            if self._wrong:
                events.append("reading fails")
        return events

    def do(self, event: str) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        if event == "drain":
            # As the node does, before its state changes.
            self._reloader.stop()
            self._closed = True
        super().do(event)

    def _to_other(self, event: str) -> None:
        if event == "reload":
            self._asked += 1
            self._reloader.reload().addBoth(self._told.append)
        elif event == "reading ends":
            self._read_limit = min(3, self._read_limit + 1)
            self._readings.pop(0).callback(Loaded(_CONFIGS[self._read_limit]))
        else:
            self._readings.pop(0).errback(ConfigError([_WRONG]))

    def _check(self) -> None:
        super()._check()
        assert len(self._readings) <= 1, "two reloads read at a time"
        assert len(self._told) <= self._asked, "somebody was told twice"

    def end(self) -> None:
        """See :class:`~tests.interleavings.explorer.World`."""
        super().end()
        assert not self._readings, "a reading goes on"
        assert len(self._told) == self._asked, f"{len(self._told)} of {self._asked} were told"
        assert all(isinstance(each, Outcome) for each in self._told), self._told
        self._bus.close()
        begun = 0
        for event in self._events:
            if isinstance(event, ReloadStarted):
                assert not begun, "a reload began within another"
                begun += 1
            elif isinstance(event, ReloadEnded):
                assert begun, "a reload ended that had not begun"
                begun -= 1
            elif isinstance(event, ConfigUpdated):
                assert begun, "a configuration came without a reload"
        assert not begun, "a reload never ended"
        limit = self.dispatcher.serving.bounds["echo"].gate.limit
        assert limit == self.config.facets["search"].limit, "the gate has another limit"

    @property
    def _events(self) -> Sequence[object]:
        return list(self._heard._events)

    # What the reloader reads, and what takes it

    async def _read(self) -> Loaded:
        reading: Deferred[Loaded] = Deferred(self._readings.remove)
        self._readings.append(reading)
        return await reading

    def prepare(self, config: Config) -> Any:
        """See :class:`micronode.config.reloader.Target`."""
        return config

    def commit(self, prepared: Config) -> None:
        """See :class:`micronode.config.reloader.Target`."""
        assert not self._closed, "a configuration is put in force although the node drains"
        self.config = prepared
        self._serve(prepared.facets["search"].limit)


def make(**settings: Any) -> Callable[[], Reloads]:
    """Return what makes a world of reloads with *settings*."""
    return lambda: Reloads(**settings)
