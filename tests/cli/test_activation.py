"""Sockets that were passed to the process: what is taken, and what is refused in words."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from micronode.cli import activation as module
from micronode.cli.activation import check_sockets, take_sockets
from micronode.cli.exits import CommandError
from micronode.config.schema import Config
from tests.cli.processes import ROOT
from tests.cli.support import CommandTestCase


class ActivationTestCase(CommandTestCase):
    """The first descriptor that is looked at is the first of the test's own, not 3, which trial may have."""

    def setUp(self) -> None:
        super().setUp()
        # Not trial's own folder: a socket's path has room for 107 bytes.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.opened: list[int] = []
        self.taken: dict[str, socket.socket] = {}
        self.addCleanup(self.close)

    def close(self) -> None:
        for sock in self.taken.values():
            sock.close()
        gc.collect()
        for number in self.opened:
            # What was refused has been closed by whoever looked at it.
            with contextlib.suppress(OSError):
                os.close(number)

    def listener(self, name: str, kind: socket.SocketKind = socket.SOCK_STREAM, listens: bool = True) -> Any:
        sock = socket.socket(socket.AF_UNIX, kind)
        sock.bind(str(self.folder / name))
        if listens and kind == socket.SOCK_STREAM:
            sock.listen(1)
        return sock

    def passed(self, *things: Any) -> None:
        """Give *things* the descriptors that follow each other, as from 3 on in a real process."""
        # Always others: a socket that was refused closes its own whenever it is forgotten.
        first = max(self.opened, default=199) + 1
        self.patch(module, "_FIRST", first)
        for number, thing in enumerate(things, first):
            os.dup2(thing.fileno(), number, inheritable=True)
            self.opened.append(number)
            thing.close()

    def take(self, **environ: str) -> dict[str, socket.socket]:
        environ = {"LISTEN_PID": str(os.getpid()), **environ, "PATH": "/bin"}
        try:
            self.taken = take_sockets(environ)
        finally:
            self.left = environ
        return self.taken

    def refusal(self, **environ: str) -> str:
        error = self.assertRaises(CommandError, self.take, **environ)
        self.assertEqual(error.code, 78)
        (line,) = error.lines
        self.assertTrue(line.startswith("socket activation: "), line)
        return str(line.removeprefix("socket activation: "))


class TakeTests(ActivationTestCase):
    def test_by_name(self) -> None:
        self.passed(self.listener("h"), self.listener("o"))
        found = self.take(LISTEN_FDS="2", LISTEN_FDNAMES="http:oap", LISTEN_PIDFDID="7")
        names = {name: sock.getsockname() for name, sock in found.items()}
        self.assertEqual(names, {"http": str(self.folder / "h"), "oap": str(self.folder / "o")})
        self.assertEqual(self.left, {"PATH": "/bin"})

    def test_no_child_inherits_them(self) -> None:
        self.passed(self.listener("h"))
        sock = self.take(LISTEN_FDS="1", LISTEN_FDNAMES="http")["http"]
        self.assertTrue(fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def test_somebody_else_took_the_variables_out(self) -> None:
        self.passed(self.listener("h"))
        started = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
        self.taken = take_sockets({}, started)
        self.assertEqual(set(self.taken), {"web"})

    def test_what_the_kernel_remembers(self) -> None:
        """Whatever became of the environment since."""
        code = (
            "import os; os.environ.clear(); from micronode.cli.activation import at_start; print(at_start())"
        )
        environ = {"LISTEN_PID": "7", "LISTEN_FDS": "", "LISTENER": "x", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=True)
        self.assertEqual(done.stdout.decode(), "{'LISTEN_PID': '7', 'LISTEN_FDS': ''}\n")

    def test_without_names(self) -> None:
        self.passed(self.listener("h"))
        self.assertEqual(set(self.take(LISTEN_FDS="1")), {"unknown"})

    def test_nothing_was_passed(self) -> None:
        for environ in ({}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "0", "LISTEN_FDNAMES": ""}):
            self.assertEqual(self.take(**environ), {})
            self.assertEqual(self.left, {"PATH": "/bin"})
        alone = {"LISTEN_FDS": "1"}
        self.assertEqual(take_sockets(alone), {})

    def test_meant_for_another_process(self) -> None:
        """A child of the process that was started has its variables, and not its descriptors."""
        self.assertEqual(self.take(LISTEN_PID="1", LISTEN_FDS="2", LISTEN_FDNAMES="http:oap"), {})
        self.assertEqual(self.left, {"PATH": "/bin"})

    def test_nonsense(self) -> None:
        for environ, words in (
            ({"LISTEN_PID": "me", "LISTEN_FDS": "1"}, "LISTEN_PID is 'me'"),
            ({"LISTEN_PID": "", "LISTEN_FDS": "1"}, "LISTEN_PID is ''"),
            ({"LISTEN_FDS": "-1"}, "LISTEN_FDS is '-1'"),
            ({"LISTEN_FDS": "1 "}, "LISTEN_FDS is '1 '"),
            ({"LISTEN_FDS": "257"}, "LISTEN_FDS is '257'"),
            ({"LISTEN_FDS": "x" * 1000}, "LISTEN_FDS is "),
            ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "http"}, "LISTEN_FDNAMES has 1 names for 2 descriptors"),
            ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES has 2 names for 1 descriptors"),
        ):
            refusal = self.refusal(**environ)
            self.assertIn(words, refusal)
            self.assertLess(len(refusal), 150)
            self.assertEqual(self.left, {"PATH": "/bin"})

    def test_two_of_one_name(self) -> None:
        self.passed(self.listener("a"), self.listener("b"))
        self.assertIn(
            "two sockets are named 'http'; give each its own FileDescriptorName=",
            self.refusal(LISTEN_FDS="2", LISTEN_FDNAMES="http:http"),
        )

    def test_not_to_listen_on(self) -> None:
        for name, thing, words in (
            ("d", self.listener("d", socket.SOCK_DGRAM), "it is no stream socket (ListenStream= makes one)"),
            ("s", self.listener("s", socket.SOCK_SEQPACKET), "it is no stream socket"),
            ("c", self.listener("c", listens=False), "it does not listen (with Accept=yes it is a"),
            ("f", open(os.devnull, "rb"), "is no socket"),  # noqa: SIM115
        ):
            self.passed(thing)
            refusal = self.refusal(LISTEN_FDS="1", LISTEN_FDNAMES=name)
            self.assertIn(f"the socket '{name}' (descriptor {self.opened[-1]})", refusal)
            self.assertIn(words, refusal)

    def test_not_open(self) -> None:
        self.patch(module, "_FIRST", 999_999)
        self.assertEqual(
            self.refusal(LISTEN_FDS="1", LISTEN_FDNAMES="http"),
            "the socket 'http' (descriptor 999999) is not open",
        )


class CheckTests(ActivationTestCase):
    def config(self, **listen: str) -> Config:
        return Config.from_mapping({plane: {"listen": text} for plane, text in listen.items()})

    def check(self, config: Config, *names: str) -> list[str]:
        return check_sockets(config, {name: self.bound("127.0.0.1") for name in names})

    def bound(self, host: str) -> socket.socket:
        sock = socket.create_server((host, 0))
        self.addCleanup(sock.close)
        return sock

    def bound_v6(self, host: str) -> Any:
        """Not a real one: a machine need not have IPv6."""
        return SimpleNamespace(getsockname=lambda: (host, 5310, 0, 0))

    def test_all_there(self) -> None:
        config = self.config(http="systemd:http", oap="systemd:oap", admin="127.0.0.1:0")
        self.assertEqual(self.check(config, "http", "oap"), [])
        self.assertEqual(self.check(config, "z", "http", "oap", "a"), ["a", "z"])

    def test_none_wanted(self) -> None:
        self.assertEqual(self.check(self.config(http="127.0.0.1:0")), [])

    def test_missing_ones_are_told_with_those_that_are_there(self) -> None:
        config = self.config(http="systemd:web", oap="systemd:oap")
        error = self.assertRaises(CommandError, self.check, config, "oap", "http")
        self.assertEqual(error.code, 78)
        (line,) = error.lines
        self.assertIn(
            'http.listen = "systemd:web": the process was started with no socket of this name', line
        )
        self.assertIn("(only http, oap); start its .socket unit, with FileDescriptorName=web", line)

    def test_none_was_passed(self) -> None:
        error = self.assertRaises(CommandError, self.check, self.config(http="systemd:a", oap="systemd:b"))
        self.assertEqual(len(error.lines), 2)
        self.assertIn("(nor any other)", error.lines[0])

    def test_bound_to_the_world(self) -> None:
        """A unit's mistake: whoever starts the node again gets the same socket."""
        config = self.config(http="systemd:http", oap="systemd:oap", admin="systemd:admin")
        sockets = {
            "http": self.bound("0.0.0.0"),
            "oap": self.bound_v6("::"),
            "admin": self.bound_v6("::1"),
        }
        error = self.assertRaises(CommandError, check_sockets, config, sockets)
        self.assertEqual(error.code, 78)
        http, oap = error.lines
        self.assertRegex(http, r"http\.listen: the socket .* bound to 0\.0\.0\.0:[0-9]+, not loopback")
        self.assertRegex(oap, r"oap\.listen: the socket .* bound to \[::\]:[0-9]+, not loopback")

    def test_one_socket_for_two_listeners(self) -> None:
        """A caller would come to either."""
        config = self.config(http="systemd:http", oap="systemd:oap", admin="127.0.0.1:0")
        sock = self.bound("127.0.0.1")
        error = self.assertRaises(CommandError, check_sockets, config, {"http": sock, "oap": sock})
        (line,) = error.lines
        self.assertRegex(line, r"oap\.listen: .* bound to 127\.0\.0\.1:[0-9]+, as that of http\.listen; give")
        # Nobody serves on what is not named.
        self.assertEqual(check_sockets(self.config(http="systemd:http"), {"http": sock, "x": sock}), ["x"])
