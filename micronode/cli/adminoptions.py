"""The options of the commands that ask a running node: where it is, what to show it, and flags of their own.

Of the standard library alone, as :mod:`micronode.cli.adminclient` is.
"""

from __future__ import annotations

import contextlib
import getopt
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from micronode import __version__
from micronode.cli.adminclient import TIMEOUT_S, AdminClient, show_json
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import has_input, show

#: Where a node's admin plane is unless it is configured otherwise, and the variable that does.
DEFAULT_ADMIN: Final = "127.0.0.1:5311"
ADMIN_VARIABLE: Final = "MICRONODE_ADMIN_LISTEN"
#: A capability is at most 8 KiB; who pastes one adds a line's end or two.
_MAX_CAPABILITY: Final = 8_192
_MAX_CAP_FILE: Final = _MAX_CAPABILITY + 256
#: Columns of help, and of the names in it.
_WIDTH: Final = 78
_INDENT: Final = 23

#: Name, with its argument, and help.
_ADMIN: Final = (
    "admin=ADDRESS",
    f"The node's admin.listen: HOST:PORT or unix:/path (default: ${ADMIN_VARIABLE}, else {DEFAULT_ADMIN}).",
)
_COMMON: Final = (
    _ADMIN,
    ("cap-file=FILE", "File with the capability to show, - for standard input."),
    ("json", 'Print the node\'s answer as JSON; {"error": …} where there is none.'),
    ("version", "Print the version and exit."),
    ("help", "Print this help and exit."),
)


class AdminOptions:
    """The options of one command that asks a node: the common ones, and flags of its own.

    Not :class:`~micronode.cli.command.CommandOptions`, which would bring Twisted along.
    """

    def __init__(self, command: str, longdesc: str, *flags: tuple[str, str]) -> None:
        """:param flags: name and help of each."""
        self._command = command
        self._longdesc = longdesc
        self._options = (*flags, *_COMMON)
        self._given: dict[str, str] = {}

    def __getitem__(self, flag: str) -> bool:
        return f"--{flag}" in self._given

    def parse(self, argv: Sequence[str]) -> None:
        """Parse *argv*.

        :raises CommandError: usage, with a line that names the command.
        """
        # An equals sign at the end is getopt's for an option with an argument.
        names = [re.sub("=.*", "=", name) for name, _ in self._options]
        try:
            options, words = getopt.gnu_getopt(list(argv), "h", names)
        except getopt.GetoptError as error:
            raise self.mistake(str(error) + self._meant(error.opt)) from None
        for name, text in options:
            if name in self._given:
                raise self.mistake(f"{name} is given twice; keep one of them")
            self._given[name] = text
        if "-h" in self._given or self["help"]:
            show(self._help())
            raise SystemExit(Exit.DONE)
        if self["version"]:
            show(f"micronode {__version__}")
            raise SystemExit(Exit.DONE)
        if words:
            raise self.mistake(f"unexpected argument {words[0]!r}")

    @contextlib.contextmanager
    def errors_as_json(self) -> Iterator[None]:
        """With ``--json``, print how a command ended without an answer: ``{"error": …}``."""
        try:
            yield
        except CommandError as error:
            # What cannot be written has no words, or nobody to read them.
            if self["json"] and error.code != Exit.USAGE and error.lines:
                show_json({"error": "; ".join(error.lines)})
            raise

    def mistake(self, text: str) -> CommandError:
        """Return the end of a command that was called wrongly."""
        return CommandError(Exit.USAGE, f"{text}; see {self._command} --help")

    def node(self, timeout_s: float = TIMEOUT_S) -> AdminClient:
        """Return the node that is to be asked.

        :param timeout_s: for a whole answer.
        :raises CommandError: its address or the capability cannot be used.
        """
        text, origin = self._given.get("--admin"), "--admin"
        if text is None and (text := os.environ.get(ADMIN_VARIABLE)):
            origin = f"env {ADMIN_VARIABLE}"
        host, port, path = self._address(text or DEFAULT_ADMIN, origin)
        return AdminClient(host, port, path, capability=self._capability(), timeout_s=timeout_s)

    def _address(self, text: str, origin: str) -> tuple[str, int, str]:
        # Not at the top, for whoever only wants help.
        from micronode.config.address import ListenAddress

        try:
            address = ListenAddress.parse(text)
        except ValueError as error:
            fix = "name the node's address with --admin HOST:PORT or unix:/path"
            raise self.mistake(f"{origin} {text[:100]!r}: {error}; {fix}") from None
        if not address.path and not address.port:
            fix = "name the address that the node has bound with --admin (its log tells)"
            raise self.mistake(f"{origin} {text}: nobody can connect to that; {fix}")
        return address.host, address.port, address.path

    def _capability(self) -> str | None:
        name = self._given.get("--cap-file")
        if name is None:
            return None
        try:
            if name == "-":
                if not has_input():
                    raise OSError(9, "there is no standard input")
                data = sys.stdin.buffer.read(_MAX_CAP_FILE + 1)
            else:
                with open(name, "rb") as file:
                    data = file.read(_MAX_CAP_FILE + 1)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise self.mistake(f"--cap-file {name!r}: {reason}") from None
        token = data.strip()
        # What is in it is a secret, also where it is not a capability.
        if not token or len(token) > _MAX_CAPABILITY or any(not 0x21 <= byte <= 0x7E for byte in token):
            raise self.mistake(f"--cap-file {name!r} holds no capability: one line of text of at most 8 KiB")
        return token.decode("ascii")

    def _meant(self, name: str) -> str:
        from micronode.config.problems import did_you_mean

        known = [each.partition("=")[0] for each, _ in self._options]
        return did_you_mean(name, known).replace("mean ", "mean --")

    def _help(self) -> str:
        import textwrap

        lines = [f"Usage: {self._command} [options]", "Options:"]
        for name, text in self._options:
            head = f"  {'-h, ' if name == 'help' else '    '}--{name}"
            rows = textwrap.wrap(text, _WIDTH - _INDENT)
            lines += [f"{head:<{_INDENT}}{rows[0]}", *(" " * _INDENT + row for row in rows[1:])]
        return "\n".join([*lines, "", *textwrap.wrap(self._longdesc, _WIDTH)])
