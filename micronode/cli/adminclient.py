"""Asking a running node's admin plane: what ``status``, ``reload`` and ``drain`` have in common.

Of the standard library alone, without a reactor: a probe runs ``micronode status`` every few seconds.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import Any, Final

from micronode import __version__
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import show

#: Seconds for the whole answer. One that is up answers in milliseconds.
TIMEOUT_S: Final = 5.0
#: A status of every facet and owner is some KiB; an answer to a reload has a hundred problems at most.
_MAX_BODY: Final = 1_048_576
#: Characters of what the other end says that are repeated in an error.
_MAX_TEXT: Final = 500


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
