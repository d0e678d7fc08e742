"""What a process takes from its service manager, and that nothing of it is left for its children."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from micronode.cli import activation
from micronode.cli.exits import CommandError
from micronode.cli.supervisor import Supervisor
from micronode.config.schema import Config
from tests.cli.support import CommandTestCase
from tests.cli.test_notify import StubNode


class SupervisorTests(CommandTestCase):
    def environ(self, *names: str) -> dict[str, str]:
        """Return the variables of a process that was passed one socket for each of *names*."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.patch(activation, "_FIRST", 300)
        for number, name in enumerate(names, 300):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(os.path.join(folder.name, name))
                sock.listen(1)
                os.dup2(sock.fileno(), number)
        return {
            "NOTIFY_SOCKET": "/nowhere/notify",
            "WATCHDOG_USEC": "3000000",
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(names)),
            "LISTEN_FDNAMES": ":".join(names),
            "LANG": "C.UTF-8",
        }

    def take(self, config: Config, environ: dict[str, str]) -> Supervisor:
        supervisor = Supervisor.take(config, environ)
        for sock in supervisor.sockets.values():
            self.addCleanup(sock.close)
        self.assertEqual(environ, {"LANG": "C.UTF-8"})
        return supervisor

    def test_takes_everything_out(self) -> None:
        config = Config.from_mapping({"http": {"listen": "systemd:http"}})
        supervisor = self.take(config, self.environ("http"))
        self.assertEqual(set(supervisor.sockets), {"http"})
        clock, node = Clock(), StubNode()
        supervisor.begin(clock)
        self.assertEqual(len(clock.getDelayedCalls()), 2)
        supervisor.follow(node)  # type: ignore[arg-type]

    def test_without_a_manager(self) -> None:
        environ = {"LANG": "C.UTF-8"}
        supervisor = self.take(Config(), environ)
        self.assertEqual(supervisor.sockets, {})
        clock = Clock()
        supervisor.begin(clock)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_socket_that_is_not_there(self) -> None:
        config = Config.from_mapping({"http": {"listen": "systemd:http"}})
        environ = {"LANG": "C.UTF-8"}
        self.assertRaises(CommandError, Supervisor.take, config, environ)

    def test_sockets_that_nobody_uses_are_one_warning(self) -> None:
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.take(Config(), self.environ("b", "a"))
        (warning,) = [event for event in events if event.get("log_format") == "sockets_unused"]
        self.assertEqual(warning["log_level"], LogLevel.warn)
        self.assertEqual(warning["reason"], "no listener is systemd:NAME for a, b")
