"""How a command ends: exit codes, and the one exception that carries a message for the user."""

from __future__ import annotations

import contextlib
import sys
import traceback
from enum import IntEnum
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from micronode.config.problems import ConfigError, Problem


class Exit(IntEnum):
    """Exit codes; from 64 on those of BSD's ``sysexits.h``."""

    DONE = 0
    #: The thing that was asked about failed.
    FAILED = 1
    USAGE = 64
    #: The node cannot serve: address in use, owners will not start. Or nobody answers, or no micronode.
    UNAVAILABLE = 69
    #: Our defect.
    DEFECT = 70
    CONFIG = 78


class CommandError(Exception):
    """A command ends with *code*, and each of *lines* on standard error.

    Lines say what, where, and what to do; the program's name is put before them.
    """

    def __init__(self, code: Exit, *lines: str) -> None:
        super().__init__(code, *lines)
        self.code = code
        self.lines = lines
        #: Of a configuration that was refused: what the lines say, in parts.
        self.problems: tuple[Problem, ...] = ()

    @classmethod
    def refused(cls, error: ConfigError) -> CommandError:
        """Make the end of a command whose configuration was refused: a line for each problem."""
        refused = cls(Exit.CONFIG, *map(str, error.problems))
        refused.problems = error.problems
        return refused


def say(line: str, stream: IO[str] | None = None) -> None:
    """Print one line for people on standard error; a closed one is no reason to fail.

    It may repeat what somebody typed: what is no text is shown escaped, as it would act on a terminal.
    """
    if not line.isprintable():
        line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    with contextlib.suppress(OSError, ValueError):
        print(f"micronode: {line}", file=stream or sys.stderr, flush=True)


def print_error(error: CommandError) -> None:
    """Print how a command ended."""
    for line in error.lines:
        say(line)


def print_defect() -> None:
    """Print the exception that is being handled, which is nobody's fault but ours."""
    with contextlib.suppress(OSError, ValueError):
        traceback.print_exc()
    say("this is a defect of micronode; please report it with the lines above")
