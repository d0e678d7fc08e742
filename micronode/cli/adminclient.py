"""Asking a running node's admin plane: what ``status``, ``reload`` and ``drain`` have in common.

Of the standard library alone, without a reactor: a probe runs ``micronode status`` every few seconds.
"""

from __future__ import annotations

import contextlib
import getopt
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import Any, Final

from micronode import __version__
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import has_input, show

#: Where a node's admin plane is unless it is configured otherwise, and the variable that does.
DEFAULT_ADMIN: Final = "127.0.0.1:5311"
ADMIN_VARIABLE: Final = "MICRONODE_ADMIN_LISTEN"
#: Seconds for the whole answer. One that is up answers in milliseconds.
TIMEOUT_S: Final = 5.0
#: A status of every facet and owner is some KiB; an answer to a reload has a hundred problems at most.
_MAX_BODY: Final = 1_048_576
#: A capability is at most 8 KiB; who pastes one adds a line's end or two.
_MAX_CAPABILITY: Final = 8_192
_MAX_CAP_FILE: Final = _MAX_CAPABILITY + 256
#: Characters of what the other end says that are repeated in an error.
_MAX_TEXT: Final = 500
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


class _UnixConnection(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminClient:
    """A node's admin plane; each question has a connection of its own.

    :ivar where: its address, as it is configured.
    """

    def __init__(self, host: str, port: int, path: str, *, capability: str | None, timeout_s: float) -> None:
        self.where = f"unix:{path}" if path else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._host, self._port, self._path = host, port, path
        self._capability = capability
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """Make one request without a body.

        :return: status and the JSON object of the answer; what the status means is the caller's matter.
        :raises CommandError: 69, nobody is there, no answer came in time or what answers is no micronode;
            1, it refuses who asks.
        """
        status, body = self._request(method, path)
        if len(body) > _MAX_BODY:
            raise self._stranger("its answer is over 1 MiB")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise self._stranger(f"its answer (status {status}) is not JSON") from None
        if not isinstance(value, dict):
            raise self._stranger(f"its answer (status {status}) is no JSON object")
        if status in (401, 403):
            raise CommandError(Exit.FAILED, f"{self.where} refuses: {text_of(value.get('message'))}")
        if status in (404, 405):
            raise CommandError(
                Exit.UNAVAILABLE,
                f"{self.where} does not know {path}: is it the admin.listen of a micronode of this release?",
            )
        return status, value

    def order(self, method: str, path: str, member: str) -> dict[str, Any]:
        """Make one request whose answer, good or bad, has the text *member* where it was understood.

        :raises CommandError: see :meth:`ask`; 1, the node answers with an error without it.
        """
        _, answer = self.ask(method, path)
        if not isinstance(answer.get(member), str):
            if "message" not in answer:
                raise self.puzzled()
            raise CommandError(Exit.FAILED, f"{self.where}: {text_of(answer['message'])}")
        return answer

    def _request(self, method: str, path: str) -> tuple[int, bytes]:
        connection = (
            _UnixConnection(self._path, self._timeout_s)
            if self._path
            else HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        )
        late: list[bool] = []
        # The connection forgets its socket with a head that says that it closes, long before the body's end.
        connected: list[socket.socket] = []

        def give_up() -> None:
            late.append(True)
            for each in connected:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

        # The connection's own timeout is one for each read: one byte a second would never be late.
        timer = threading.Timer(self._timeout_s, give_up)
        timer.daemon = True
        timer.start()
        headers = {"Accept": "application/json", "User-Agent": f"micronode/{__version__}"}
        if self._capability is not None:
            headers["Authorization"] = f"Bearer {self._capability}"
        reached = False
        try:
            connection.connect()
            reached = True
            connected.append(connection.sock)
            if late:
                raise TimeoutError
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            body = response.read(_MAX_BODY + 1)
            if late:
                raise TimeoutError
            if response.length and len(body) <= _MAX_BODY:
                raise IncompleteRead(body, response.length)
            return response.status, body
        except (OSError, HTTPException) as error:
            raise self._unanswered(error, reached=reached, late=bool(late)) from None
        finally:
            timer.cancel()
            connection.close()

    def _unanswered(self, error: Exception, *, reached: bool, late: bool) -> CommandError:
        hint = "is the node running, and is this its admin.listen?"
        if late or isinstance(error, TimeoutError):
            what = f"no answer from {self.where} within {self._timeout_s:g} s"
            return CommandError(Exit.UNAVAILABLE, f"{what}; the node is busy or stuck" if reached else what)
        if not reached:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            return CommandError(Exit.UNAVAILABLE, f"cannot connect to {self.where}: {reason}; {hint}")
        if isinstance(error, (OSError, IncompleteRead)):
            what = f"{self.where} closed the connection before its answer was whole"
            return CommandError(Exit.UNAVAILABLE, f"{what}; is it stopping?")
        return self._stranger("it does not speak HTTP")

    def _stranger(self, why: str) -> CommandError:
        return CommandError(
            Exit.UNAVAILABLE,
            f"what listens at {self.where} is no micronode's admin plane: {why}; see --admin",
        )

    def puzzled(self) -> CommandError:
        """Return the end of a command whose answer lacks what every micronode's has."""
        return self._stranger("its answer has another shape")


def text_of(value: Any) -> str:
    """Return *value*, which came from the other end, as one printable line that is not too long."""
    text = str(value)[:_MAX_TEXT]
    return "".join(character if character.isprintable() else " " for character in text)


def show_json(value: Any) -> None:
    """Print *value* as JSON for a script, or a person."""
    show(json.dumps(value, indent=2))
