"""A peer that answers each connection with the bytes it was given, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

_PATIENCE_S = 30.0


def response(value: Any, status: int = 200) -> bytes:
    """Return the bytes of an HTTP answer; *value* is bytes, or becomes JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class CannedPeer:
    """Listens on loopback, or on a Unix socket, in a thread until the test is over.

    :ivar where: its address, as configuration writes it.
    :ivar asked: what came on each connection.
    :ivar sent: bytes that went out by the trickle.
    """

    def __init__(
        self,
        case: SynchronousTestCase,
        *answers: bytes,
        unix: bool = False,
        trickle_s: float | None = None,
        at_once: int = 0,
    ) -> None:
        """:param answers: one for each connection, in order; the last one for all that follow.
        :param trickle_s: send a byte at a time, with such a pause before each.
        :param at_once: how many bytes go out before that.
        """
        self.asked: list[bytes] = []
        self._answers = list(answers)
        self._trickle_s = trickle_s
        self._at_once = at_once
        self.sent = 0
        self._over = threading.Event()
        if unix:
            folder = tempfile.mkdtemp()
            case.addCleanup(shutil.rmtree, folder)
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(f"{folder}/s")
            self.where = f"unix:{folder}/s"
        else:
            self._socket = socket.socket()
            self._socket.bind(("127.0.0.1", 0))
            self.where = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        case.addCleanup(self._close)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_PATIENCE_S)
                self.asked.append(connection.recv(65_536))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if self._trickle_s is None:
                    connection.sendall(answer)
                    continue
                connection.sendall(answer[: self._at_once])
                for index in range(self._at_once, len(answer)):
                    if self._over.wait(self._trickle_s):
                        break
                    connection.sendall(answer[index : index + 1])
                    self.sent += 1

    def _close(self) -> None:
        self._over.set()
        # A close alone does not wake who accepts.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        deadline = time.monotonic() + _PATIENCE_S
        self._thread.join(max(0.0, deadline - time.monotonic()))


def nobody() -> str:
    """Return an address on loopback where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"
