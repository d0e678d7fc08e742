"""Reloading: reads the configuration again, works out what may change, and lets the node take it.

One reload at a time. Whoever asks while one is under way is answered by one more, which begins after it: the
files may have changed since they were read. In two phases: whatever can fail is prepared beside what runs,
then all of it is put in force in one turn of the reactor, by assignments. Where anything is wrong the old
configuration stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeAlias

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from micronode.bus import ConfigUpdated, EventBus, ReloadEnded, ReloadStarted
from micronode.config.hot_reload import Outcome, Plan, plan
from micronode.config.problems import ConfigError, Problem
from micronode.config.rounds import Round
from micronode.config.schema import Config
from micronode.config.sources import Loaded
from micronode.observability.metrics import Metrics

_log = Logger()

#: Reads all sources again; may raise ConfigError.
Read: TypeAlias = Callable[[], Awaitable[Loaded]]
#: Lines of the log that one refused configuration is worth.
_MAX_PROBLEMS: Final = 20
#: Keys that one line of the log names: custom facets that come have a dozen each.
_NAMED_KEYS: Final = 40
_NO_READ: Final = Problem(
    "reload",
    "this node was built from values, so there is nothing to read again",
    "hand reload() a Config, or make_node() a way to read one (read=...)",
)
_DRAINING: Final = Problem("reload", "the node is stopping", "ask the next one")
_DEFECT: Final = Problem(
    "reload", "the node failed to take the configuration, by a defect of its own", "its log has the traceback"
)


class Target(Protocol):
    """What takes a configuration."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    def prepare(self, config: Config) -> Any:
        """Build all that *config* needs beside what runs; what it returns holds nothing. May raise.

        Where it has ``rewritten``, that are the paths of keys that name the same file as before, with
        something else in it.
        """

    def commit(self, prepared: Any) -> None:
        """Put what was prepared in force; never fails."""


@attrs.frozen
class Last:
    """How the last reload ended: its outcome, and when, in unix time."""

    outcome: Outcome
    at: float


class Reloader:
    """Reloads *target*.

    :param read: reads all sources; None where there are none.
    :param wall: unix time in seconds.
    :ivar last: how the last reload ended that was worked on; None before the first.
    :ivar restart_required: the keys that wait for a restart, as of the last good reload.
    """

    def __init__(
        self,
        target: Target,
        *,
        read: Read | None,
        bus: EventBus,
        metrics: Metrics,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.last: Last | None = None
        self.restart_required: tuple[str, ...] = ()
        self._target = target
        self._read = read
        self._bus = bus
        self._metrics = metrics
        self._wall = wall
        self._stopped = False
        self._current: Round | None = None
        self._next: Round | None = None
        self._preview: Round | None = None
        self._readings: list[Deferred[Loaded]] = []

    def reload(self, config: Config | None = None) -> Deferred[Outcome]:
        """Take *config*, or where None read all sources and take what they say now.

        Where several ask while one is under way, the one that follows takes what was asked for last.

        :return: fires with the outcome; it never fails. Cancelling it lets the reload be.
        """
        if self._stopped:
            _log.warn("config_reload_ignored", reason=_DRAINING.what)
            return succeed(self._without("draining", _DRAINING))
        if self._next is None:
            self._next = Round()
        self._next.config = config
        waiting = self._next.join()
        if self._current is None:
            Deferred.fromCoroutine(self._reload_all())
        return waiting

    def preview(self) -> Deferred[Outcome]:
        """Tell what a reload would do now: it does all that one does, but for taking effect.

        One at a time: whoever asks while one is under way gets its outcome.

        :return: fires with the outcome; it never fails. Cancelling it lets the preview be.
        """
        if self._stopped:
            return succeed(self._without("draining", _DRAINING))
        if self._preview is not None:
            return self._preview.join()
        self._preview = Round()
        waiting = self._preview.join()
        Deferred.fromCoroutine(self._preview_once(self._preview))
        return waiting

    def stop(self) -> None:
        """The node drains: what is under way ends at once, and nothing is begun any more."""
        if self._stopped:
            return
        self._stopped = True
        outcome = self._without("draining", _DRAINING)
        current, following, preview = self._current, self._next, self._preview
        self._current = self._next = self._preview = None
        for reading in list(self._readings):
            reading.cancel()
        if current is not None:
            current.outcome = current.outcome or outcome
            self._tell(current.outcome)
        for each in (current, following, preview):
            if each is not None:
                each.end(each.outcome or outcome)

    async def _reload_all(self) -> None:
        while (current := self._next) is not None:
            self._current, self._next = current, None
            self._bus.publish(ReloadStarted())
            outcome = await self._reload_once(current)
            # Where it was stopped, everybody was told by then.
            if not self._stopped:
                self._tell(outcome)
            current.end(outcome)
        self._current = None

    async def _reload_once(self, current: Round) -> Outcome:
        before = self._target.config
        try:
            loaded, planned = await self._planned(current.config)
            prepared = self._target.prepare(planned.effective)
            planned = planned.with_files(getattr(prepared, "rewritten", ()))
            outcome = Outcome(
                outcome="applied" if planned.live else "unchanged",
                config_sha=planned.effective.sha(),
                changes=planned.changes,
                warnings=loaded.warnings,
                hidden=loaded.hidden,
            )
            # Up to here nothing has changed; from here on nothing can fail.
            current.outcome = outcome
            self._target.commit(prepared)
        except Exception as error:
            if self._stopped:
                return self._without("draining", _DRAINING)
            outcome = self._failed(error, "config_reload_failed")
        current.outcome = outcome
        self._account(outcome)
        if outcome.outcome == "applied":
            self._bus.publish(
                ConfigUpdated(
                    config_sha=outcome.config_sha,
                    previous_sha=before.sha(),
                    changed=tuple(change.path for change in outcome.changes if change.live),
                    restart=outcome.restart,
                )
            )
        return outcome

    async def _preview_once(self, preview: Round) -> None:
        try:
            loaded, planned = await self._planned(None)
            prepared = self._target.prepare(planned.effective)
            planned = planned.with_files(getattr(prepared, "rewritten", ()))
            outcome = Outcome(
                outcome="would_apply" if planned.live else "unchanged",
                config_sha=self._target.config.sha(),
                changes=planned.changes,
                warnings=loaded.warnings,
                hidden=loaded.hidden,
            )
        except Exception as error:
            if self._stopped:
                return
            outcome = self._failed(error, "config_preview_failed")
        if self._preview is preview:
            self._preview = None
        preview.end(outcome)

    async def _planned(self, config: Config | None) -> tuple[Loaded, Plan]:
        """Read what is wanted, unless it is *config*, and work out what of it can be had.

        :raises ConfigError: it is refused.
        """
        loaded = await self._wanted() if config is None else Loaded(config)
        if self._stopped:
            raise CancelledError
        loaded.config.require_built()
        return loaded, plan(self._target.config, loaded.config)

    async def _wanted(self) -> Loaded:
        if self._read is None:
            raise ConfigError([_NO_READ])
        reading = Deferred.fromCoroutine(_awaited(self._read))
        self._readings.append(reading)
        try:
            return await reading
        finally:
            self._readings.remove(reading)

    # What is told of it

    def _without(self, name: str, *problems: Problem) -> Outcome:
        """Return the outcome *name* of what came to nothing because of *problems*."""
        return Outcome(outcome=name, config_sha=self._target.config.sha(), problems=problems)

    def _failed(self, error: Exception, event: str) -> Outcome:
        """Return what comes of *error*, which is being handled; it is logged where it is a defect."""
        if isinstance(error, ConfigError):
            return self._without("refused", *error.problems)
        _log.failure(event)
        return self._without("failed", _DEFECT)

    def _tell(self, outcome: Outcome) -> None:
        self._bus.publish(ReloadEnded(outcome=outcome.outcome, reason=outcome.reason))

    def _account(self, outcome: Outcome) -> None:
        """Keep, count and log how a reload ended."""
        self.last = Last(outcome, self._wall())
        self._metrics.reloads(outcome.outcome).inc()
        if outcome.outcome in ("applied", "unchanged"):
            self.restart_required = outcome.restart
            self._metrics.last_reload.set(self.last.at)
        for warning in outcome.warnings:
            _log.warn("environment", reason=warning)
        if outcome.outcome == "applied":
            changed = [change.path for change in outcome.changes if change.live]
            more = len(changed) - _NAMED_KEYS
            changed[_NAMED_KEYS:] = [f"and {more} more"] if more > 0 else []
            _log.info("config_reloaded", config_sha=outcome.config_sha, changed=", ".join(changed))
        elif outcome.outcome == "unchanged":
            _log.info("config_unchanged", config_sha=outcome.config_sha)
        elif outcome.outcome == "refused":
            _log_problems(outcome.problems)
        if outcome.restart:
            _log.warn("config_restart_needed", keys=", ".join(outcome.restart))


async def _awaited(read: Read) -> Loaded:
    try:
        return await read()
    except (Exception, GeneratorExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        # The way out of a process, or of another loop's task, is no way out of a node.
        raise RuntimeError(f"reading ended with {type(error).__name__}") from error


def _log_problems(problems: tuple[Problem, ...]) -> None:
    more = len(problems) - _MAX_PROBLEMS
    for problem in problems[: _MAX_PROBLEMS if more <= 0 else _MAX_PROBLEMS - 1]:
        _log.error("config_refused", reason=str(problem))
    if more > 0:
        _log.error("config_refused", reason=f"and {more + 1} more problems; micronode check tells them all")
