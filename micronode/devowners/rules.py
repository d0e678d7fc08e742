"""The rules of the policy owner: a TOML file, read again when it has changed.

::

    [default]                     # what no rule is for; without it everything else is allowed
    action = "allow"

    [[rule]]
    name = "read only"
    facet = ["media", "feed"]     # one text or several; what is not named may be anything
    op = ["put", "send"]
    action = "deny"
    reason = "nothing is written on Sundays"
    ttl_s = 60
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from micronode.config.members import FACET_NAMES
from micronode.config.problems import did_you_mean

#: What a rule may look at.
FIELDS: Final = ("tenant", "token_id", "facet", "op", "method")
DEFAULT_TTL_S: Final = 5.0
MAX_TTL_S: Final = 86_400.0
#: A file that is longer is no file of rules.
_MAX_FILE_BYTES: Final = 2**20

_ACTIONS: Final = ("allow", "deny")
_OUTCOME: Final = ("action", "reason", "max_bytes", "ttl_s")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


class RulesError(Exception):
    """The file cannot be used; the message says where and why."""


@attrs.frozen(kw_only=True)
class Rule:
    """What it is for, and what it says then."""

    name: str
    #: Any of these values, by field; a field that is not here may be anything.
    wants: Mapping[str, frozenset[str]]
    action: str = "allow"
    reason: str = ""
    #: Of the request's body; None: the node's own limit.
    max_bytes: int | None = None
    ttl_s: float = DEFAULT_TTL_S

    def matches(self, question: Mapping[str, str | None]) -> bool:
        """Whether it is for *question*, which has every field."""
        return all(question[field] in values for field, values in self.wants.items())

    def decision(self) -> dict[str, Any]:
        """Return what it says, as JSON has it."""
        said = {"action": self.action, "rule": self.name, "reason": self.reason, "ttl_s": self.ttl_s}
        return said if self.max_bytes is None else {**said, "max_bytes": self.max_bytes}


@attrs.frozen
class Rules:
    """Rules in order; the last is for everything."""

    rules: tuple[Rule, ...] = ()
    default: Rule = Rule(name="default", wants={})

    @classmethod
    def parse(cls, text: str) -> Rules:
        """Read the text of a file.

        :raises RulesError: naming the rule, the key and what to write instead.
        """
        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise RulesError(str(error) or "nested too deeply") from None
        for key in document:
            if key not in ("rule", "default"):
                raise RulesError(f"unknown table {key!r}{did_you_mean(key, ('rule', 'default'))}")
        default, rules = document.get("default", {}), document.get("rule", [])
        if not isinstance(default, dict) or not isinstance(rules, list):
            raise RulesError("rules are written [[rule]], what else counts as [default]")
        return cls(
            tuple(_read_rule(f"rule {number}", table) for number, table in enumerate(rules, 1)),
            _read("[default]", default, "default", ()),
        )

    def other_facets(self) -> list[str]:
        """Return the facets that rules name and that are none of the built-in ones."""
        named = {name for rule in self.rules for name in rule.wants.get("facet", ())}
        return sorted(named - set(FACET_NAMES))

    def decide(self, question: Mapping[str, str | None]) -> Rule:
        """Return the first rule that is for *question*."""
        return next((rule for rule in self.rules if rule.matches(question)), self.default)


class RuleFile:
    """The rules in a file, as they are at the moment.

    :raises RulesError: the file cannot be used; later, when it has changed into one, the rules stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules = Rules()
        self._seen: object = None
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if it has changed.

        :return: whether it had.
        :raises RulesError: it cannot be used. It is not tried again before it changes.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES + 1)
            if len(data) > _MAX_FILE_BYTES:
                raise RulesError(f"{self.path}: longer than {_MAX_FILE_BYTES} bytes")
            self.rules = Rules.parse(data.decode())
        except OSError as error:
            raise RulesError(f"{self.path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RulesError(f"{self.path}: not UTF-8") from None
        except RulesError as error:
            raise RulesError(f"{self.path}: {error}") from None
        return True

    def _look(self) -> object:
        try:
            found = os.stat(self.path)
        except OSError as error:
            return error.errno
        # A file that is replaced has another inode; one that is written in place, another time or size.
        return found.st_ino, found.st_mtime_ns, found.st_size


def _read_rule(where: str, table: Any) -> Rule:
    if not isinstance(table, dict):
        raise RulesError(f"{where}: rules are written [[rule]]")
    name = table.get("name", where)
    if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
        raise RulesError(f"{where}: name must be 1 to 64 printable characters")
    where = where if name == where else f"{where} ({name})"
    return _read(where, table, name, ("name", *FIELDS))


def _read(where: str, table: dict[str, Any], name: str, more: tuple[str, ...]) -> Rule:
    known = (*more, *_OUTCOME)
    for key in table:
        if key not in known:
            raise RulesError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}")
    action = table.get("action", "allow" if not more else None)
    if action not in _ACTIONS:
        raise RulesError(f'{where}: action must be "allow" or "deny"')
    reason = table.get("reason", "")
    if not isinstance(reason, str) or len(reason) > 200 or not (reason.isprintable()):
        raise RulesError(f"{where}: reason must be a text of up to 200 printable characters")
    max_bytes = table.get("max_bytes")
    if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 0):
        raise RulesError(f"{where}: max_bytes must be a whole number from 0")
    ttl_s = table.get("ttl_s", DEFAULT_TTL_S)
    if type(ttl_s) not in (int, float) or not 0 <= ttl_s <= MAX_TTL_S:
        raise RulesError(f"{where}: ttl_s must be a number of seconds from 0 to {MAX_TTL_S:.0f}")
    wants: dict[str, frozenset[str]] = {
        field: _read_values(where, field, table[field]) for field in FIELDS if field in table
    }
    return Rule(name=name, wants=wants, action=action, reason=reason, max_bytes=max_bytes, ttl_s=float(ttl_s))


def _read_values(where: str, field: str, given: Any) -> frozenset[str]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str) and value for value in values):
        raise RulesError(f"{where}: {field} must be a text or a list of texts")
    if field in ("tenant", "token_id") and not all(map(_HEX.fullmatch, values)):
        raise RulesError(f"{where}: {field} must be 32 lower-case hex digits")
    if field == "method" and any(value != value.upper() for value in values):
        raise RulesError(f"{where}: method must be in capitals")
    return frozenset(values)
