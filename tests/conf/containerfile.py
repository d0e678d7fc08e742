"""Reads ``conf/Containerfile``: what its stages say, without a builder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from tests.conf.manifests import ROOT

PATH = ROOT / "conf" / "Containerfile"


@dataclass
class Stage:
    """One stage: its base, its name, and its instructions in order."""

    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """Return the arguments of each *instruction*."""
        return [text for word, text in self.steps if word == instruction]

    def words(self, instruction: str) -> list[list[str]]:
        """Return the words of each *instruction*, which must be in exec form."""
        return [json.loads(text) for text in self.all(instruction)]


def read(text: str) -> tuple[dict[str, str], list[Stage]]:
    """Return the arguments that stand before the first stage, and the stages.

    :raises ValueError: a line is no instruction.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line:
            continue
        found = re.fullmatch(r"([A-Z]+) (.+)", line)
        if found is None:
            raise ValueError(line)
        word, rest = found.groups()
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            for key, value in arguments.items():
                base = base.replace(f"${{{key}}}", value)
            stages.append(Stage(base, name))
        elif stages:
            stages[-1].steps.append((word, rest))
        elif word == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        else:
            raise ValueError(f"before the first stage: {line}")
    return arguments, stages
