"""``micronode COMMAND``: find the command's module, run it, turn how it ended into an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from micronode import __version__
from micronode.cli.exits import CommandError, Exit, print_defect, print_error
from micronode.cli.hangup import hold_hangup
from micronode.cli.streams import open_missing, settle, show

#: Each command is ``main(argv) -> int`` of the module ``micronode.cli.NAME``, imported when it is called.
COMMANDS: Final = {
    "run": "run the node in the foreground",
    "dev": "run the node with reference owner services, to try it out",
    "owners": "run the reference owner services alone",
    "check": "tell whether a node would run with this configuration",
    "config": "show the configuration and where it comes from, or begin one",
    "status": "tell how a running node is",
    "reload": "tell a running node to read its configuration again, or what would change",
    "drain": "tell a running node to stop in order",
    "call": "make one OAP/1 call and print the answer's body",
    "version": "print the version",
}
#: Those that take SIGHUP, from their first moment on.
_RELOADABLE: Final = (["run"], ["dev"])


def usage() -> str:
    """Return the text of ``micronode --help``."""
    rows = "\n".join(f"  {name:<9}{does}" for name, does in COMMANDS.items())
    return (
        "Usage: micronode COMMAND [options]\n\n"
        "A hardened, protocol-first network node that stands in front of your services.\n\n"
        f"Commands:\n{rows}\n\n"
        "micronode COMMAND --help tells the options of one. Exit codes: 0 done, 1 it failed,\n"
        "64 usage, 69 cannot serve, or no micronode answers, 70 a defect of micronode,\n"
        "78 configuration refused."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the console script ``micronode`` and ``python -m micronode``.

    :return: the exit code, see :class:`~micronode.cli.exits.Exit`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in _RELOADABLE:
        hold_hangup()
    if os.getpid() == 1:
        # In a container. To its first process the kernel passes on only what that handles, so that a stop
        # would be lost on it until the reactor runs; elsewhere SIGTERM ends it anyway.
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    open_missing()
    return settle(_guarded(arguments))


def _guarded(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except CommandError as error:
        print_error(error)
        return error.code
    except SystemExit as ended:
        # An option that prints and ends: --help, --version.
        return ended.code if isinstance(ended.code, int) else Exit.FAILED
    except KeyboardInterrupt:
        return Exit.FAILED
    except Exception:
        print_defect()
        return Exit.DEFECT


def _run(arguments: list[str]) -> int:
    if not arguments:
        raise CommandError(
            Exit.USAGE, f"no command given; commands are {', '.join(COMMANDS)} (--help tells more)"
        )
    name, *rest = arguments
    if name in ("-h", "--help", "help"):
        show(usage())
        return Exit.DONE
    if name == "--version":
        show(f"micronode {__version__}")
        return Exit.DONE
    if name not in COMMANDS:
        # Not at the top: most commands, and all that are quick, need nothing of it.
        from micronode.config.problems import did_you_mean, shorten

        what = "option" if name.startswith("-") else "command"
        hint = did_you_mean(name, COMMANDS)
        raise CommandError(
            Exit.USAGE, f"unknown {what} {shorten(name)}{hint}; commands are {', '.join(COMMANDS)}"
        )
    command = import_module(f"micronode.cli.{name}")
    code: int = command.main(rest)
    return code
