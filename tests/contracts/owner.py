"""What every owner service promises, whichever it is, and how a contract asks one at a URL.

A contract is mixed into a ``SynchronousTestCase`` that says how to ask: :class:`AtURL` for a real one, or a
method ``ask`` of its own. It leaves nothing behind that disturbs it at the next run.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import attrs

#: Nothing here takes longer, unless it hangs.
_PATIENCE_S = 30


@attrs.frozen
class Answer:
    """A response: field names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, whose path is the host."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE_S)
        self.sock.connect(self.host)


def ask_url(url: str, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
    """Make a request to the owner at *url*, ``http://HOST:PORT`` or ``unix:/path``.

    :param fields: header fields, with ``_`` for ``-``.
    """
    connection: http.client.HTTPConnection
    if url.startswith("unix:"):
        connection = _UnixConnection(url.removeprefix("unix:"))
    else:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_PATIENCE_S)
    try:
        given = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body, given)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


class AtURL:
    """Asks the owner at :attr:`url`."""

    url = ""

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Any:
        return ask_url(self.url, method, path, body, **fields)


class OwnerAsking:
    """How the suites ask, and what every error looks like."""

    # To be provided.

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Any:
        """Make a request; return an :class:`Answer` or what looks like one."""
        raise NotImplementedError

    # For the suites.

    def ask_json(self, method: str, path: str, content: Any = None, **fields: str) -> Any:
        """Make a request with a JSON body."""
        body = b"" if content is None else json.dumps(content).encode()
        return self.ask(method, path, body, Content_Type="application/json", **fields)

    def check_error(self, answer: Any, status: int, code: str | None = None) -> None:
        """An error has the one shape of errors."""
        case: Any = self
        case.assertEqual(answer.status, status, answer.body)
        case.assertEqual(answer.headers["content-type"], "application/json")
        case.assertEqual(list(answer.json), ["code", "message"])
        case.assertTrue(answer.json["message"])
        if code is not None:
            case.assertEqual(answer.json["code"], code)
        if status in (429, 503):
            case.assertGreaterEqual(int(answer.headers["retry-after"]), 1)


class OwnerContract(OwnerAsking):
    """The conformance suite of all; ``self`` is also a ``SynchronousTestCase``.

    :cvar refused: requests that have no answer, with the status they get; of which none is 500.
    """

    refused: tuple[tuple[str, str, int], ...] = ()

    def test_health(self) -> None:
        case: Any = self
        for path in ("/healthz", "/readyz"):
            answer = self.ask("GET", path)
            case.assertEqual(answer.status, 200)
            case.assertIsInstance(answer.json, dict)
            answer = self.ask("HEAD", path)
            case.assertEqual((answer.status, answer.body), (200, b""))

    def test_paths_that_are_none(self) -> None:
        for path in ("/", "/nothing", "/v1/nothing", "/o/x/y/z", "/%00", "/..", "//"):
            self.check_error(self.ask("GET", path), 404)
        self.check_error(self.ask("GET", "/%ff"), 400)

    def test_refusals(self) -> None:
        for method, path, status in self.refused:
            answer = self.ask(method, path)
            self.check_error(answer, status)
            if status == 405:
                case: Any = self
                case.assertNotIn(method.lower(), answer.headers["allow"].lower())
