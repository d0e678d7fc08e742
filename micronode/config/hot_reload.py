"""Hot reload: what a node that runs may take of another configuration, and what came of it.

Pure: who reads, takes and tells is :mod:`micronode.config.reloader`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import attrs

from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import Config
from micronode.config.table import PLAIN

#: Where one of two configurations has no such key: one of a facet of the user's own.
_ABSENT: Final = object()


@attrs.frozen(kw_only=True)
class Change:
    """One key whose value would be, or is, another."""

    path: str
    #: Where the new value comes from: ``default``, ``profile NAME``, ``FILE:LINE``, ``env …``, ``flag …``.
    source: str
    #: Whether it is in force at once; else the old value stays until a restart.
    live: bool


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a reload, or of looking at what one would do."""

    #: ``applied``, ``unchanged``, ``refused`` (the configuration), ``failed`` (the node could not take it),
    #: or ``draining``; of a preview also ``would_apply``.
    outcome: str
    #: Of the configuration that is in force now.
    config_sha: str
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    #: What the files say in vain; see :attr:`micronode.config.sources.Loaded.hidden`.
    hidden: tuple[str, ...] = ()

    @property
    def restart(self) -> tuple[str, ...]:
        """The paths of the keys that need a restart."""
        return tuple(change.path for change in self.changes if not change.live)

    @property
    def reason(self) -> str:
        """Why nothing was applied, in a line, or nothing."""
        if not self.problems:
            return ""
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"{self.problems[0]}{more}"

    def as_dict(self) -> dict[str, Any]:
        """Return it in the types of JSON."""
        return {
            "outcome": self.outcome,
            "config_sha": self.config_sha,
            "changes": [attrs.asdict(change) for change in self.changes],
            "restart_required": list(self.restart),
            "problems": [attrs.asdict(problem) for problem in self.problems],
            "warnings": list(self.warnings),
            "hidden": list(self.hidden),
        }


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done to get from one configuration to another without a restart."""

    #: What will be in force: the wanted one, but for what needs a restart.
    effective: Config
    changes: tuple[Change, ...]

    @property
    def live(self) -> tuple[str, ...]:
        """The paths of the keys that change now."""
        return tuple(change.path for change in self.changes if change.live)

    @property
    def restart(self) -> tuple[str, ...]:
        """The paths of the keys that keep their values until a restart."""
        return tuple(change.path for change in self.changes if not change.live)

    def with_files(self, paths: Collection[str]) -> Plan:
        """Return the same with the keys at *paths* among the changes: their files say something else."""
        known = {change.path for change in self.changes}
        more = [
            Change(path=path, source=self.effective.source(path), live=True)
            for path in paths
            if path not in known
        ]
        return attrs.evolve(self, changes=(*self.changes, *more))


def plan(current: Config, wanted: Config) -> Plan:
    """Compare the configuration in force with the one that is wanted.

    :raises ConfigError: what could be taken of *wanted* now does not fit to what needs a restart.
    """
    before, after = current.values(), wanted.values()
    needs_restart = {
        row.path for config in (current, wanted) for row, _ in config.rows() if row.reload == "restart"
    }
    changes = tuple(
        Change(path=path, source=wanted.source(path), live=path not in needs_restart)
        # Of both, in the order of the table; what vanishes comes last.
        for path in dict.fromkeys((*after, *before))
        if before.get(path, _ABSENT) != after.get(path, _ABSENT)
    )
    kept = [change.path for change in changes if not change.live]
    try:
        effective = keeping(wanted, current, kept)
    except ConfigError as error:
        keys = ", ".join(kept)
        raise ConfigError(
            Problem(
                problem.where,
                f"{problem.what} (as long as {keys}, which cannot change while the node runs,"
                f" {'keeps its' if len(kept) == 1 else 'keep their'} value)",
                f"restart the node, or take back the change of {keys}",
            )
            for problem in error.problems
        ) from None
    return Plan(effective=effective, changes=changes)


def keeping(wanted: Config, current: Config, paths: Collection[str]) -> Config:
    """Return *wanted* with the values at *paths*, and where they came from, as they are in *current*.

    :raises ConfigError: the two do not fit together.
    """
    sections: dict[str, Any] = {}
    for path in paths:
        group, *names, name = path.split(".")
        section, old = sections.get(group, getattr(wanted, group)), getattr(current, group)
        if group in PLAIN:
            sections[group] = attrs.evolve(section, **{name: getattr(old, name)})
        elif names[0] in section and names[0] in old:
            member = attrs.evolve(section[names[0]], **{name: getattr(old[names[0]], name)})
            sections[group] = {**section, names[0]: member}
    sources = {path: source for path, source in wanted.sources.items() if path not in paths}
    sources |= {path: current.sources[path] for path in paths if path in current.sources}
    return attrs.evolve(wanted, **sections, sources=sources)
