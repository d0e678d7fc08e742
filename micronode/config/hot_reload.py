"""Hot reload: how a node that runs takes another configuration, and what came of it."""

from __future__ import annotations

from typing import Any

import attrs

from micronode.config.problems import Problem


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
        }
