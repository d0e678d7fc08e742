"""An owner on a connection in memory, and documents to put into it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from micronode.devowners.channel import OwnerFactory
from micronode.devowners.corpus import Document, Edge
from micronode.devowners.exchange import Owner
from micronode.devowners.log import JSONLog
from tests.contracts.owner import Answer


def make_document(
    document_id: str, text: str = "", *, title: str = "", requires: tuple[str, ...] = ()
) -> Document:
    """Return a document with *text*, requiring the nodes named."""
    return Document(
        id=document_id,
        title=title or document_id,
        text=text,
        body=text.encode("utf-8", "replace"),
        content_type="text/plain",
        edges=tuple(Edge("requires", target) for target in requires),
    )


class MemoryCaller:
    """A caller of *owner* over a :class:`StringTransport`."""

    def __init__(
        self,
        owner: Owner,
        clock: Clock | None = None,
        make_factory: Callable[[Owner, JSONLog, Any], OwnerFactory] = OwnerFactory,
    ) -> None:
        self.clock = Clock() if clock is None else clock
        self.log = io.StringIO()
        factory = make_factory(owner, JSONLog(self.log, "debug"), self.clock)
        channel = factory.buildProtocol(None)
        assert channel is not None
        self.channel = channel
        self.transport = StringTransport()
        channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.channel.dataReceived(data)

    def ask(self, method: str, path: str, *fields: str, body: bytes = b"") -> Answer:
        """Make a request on the connection and return its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: owner", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.answer()

    def ask_patiently(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        """Make a request, let time pass until its answer begins, and return it."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.send(
            "\r\n".join(
                [f"{method} {path} HTTP/1.1", "Host: owner", f"Content-Length: {len(body)}", *lines, "", ""]
            ).encode("latin-1")
            + body
        )
        for _ in range(10_000):
            if self.transport.value():
                return self.answer()
            self.clock.advance(0.01)
        raise AssertionError("no answer")

    def answer(self) -> Answer:
        """Return the answer on the wire, and forget it."""
        data = self.transport.value()
        self.transport.clear()
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, rest)

    def hang_up(self) -> None:
        """Close the connection from the caller's side."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    def log_lines(self) -> list[dict[str, Any]]:
        """Return what was logged."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


class InMemory:
    """Asks as a contract does: :attr:`owner`, on a new connection each time."""

    owner: Owner
    clock: Clock

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        caller = MemoryCaller(self.owner, self.clock)
        try:
            return caller.ask_patiently(method, path, body, **fields)
        finally:
            caller.hang_up()
