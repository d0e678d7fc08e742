"""twistd -n micronode: serves the same, ends the same, and leaves no file."""

import json
import os
import signal
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, Program, ask, ask_json

#: What the script ``twistd`` does; the module itself cannot be run.
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"


class TwistdTests(SynchronousTestCase):
    def twistd(self, *argv: str) -> Program:
        return Program(self, "-n", "micronode", *argv, python=("-c", TWISTD))

    def test_serves_until_sigterm(self) -> None:
        twistd = self.twistd(*FREE, *NO_OWNERS, "--set", "drain.grace=0s")
        admin = twistd.until(r'"listener":"admin","address":"([^"]+)"')[1]
        http = twistd.until(r'"listener":"http","address":"([^"]+)"')[1]
        self.assertTrue(ask_json(f"http://{admin}/readyz")["ready"])
        self.assertEqual(json.loads(ask(f"http://{http}/app/search?q=x")[2])["code"], "owner_unavailable")
        twistd.kill(signal.SIGHUP)
        twistd.until("reload_unavailable")
        twistd.kill(signal.SIGTERM)
        # twistd ends by the signal that stopped it, once everything is stopped.
        self.assertEqual(twistd.end(), -signal.SIGTERM)
        self.assertIn(b'"stopped"', twistd.printed)
        self.assertEqual(os.listdir(twistd.directory), [])
        for line in twistd.printed.splitlines():
            self.assertIn("event", json.loads(line))

    def test_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            twistd = self.twistd(*FREE, "--oap", address)
            self.assertEqual(twistd.end(), 69)
        self.assertRegex(
            twistd.complained, rf"\Amicronode: oap\.listen {address}: address already in use.*\n\Z"
        )
        self.assertNotIn(b"Traceback", twistd.printed)

    def test_mistakes(self) -> None:
        for argv, code in ((["--http", "0.0.0.0:1"], 78), (["--no-such"], 64), (["--help"], 0)):
            twistd = self.twistd(*argv)
            self.assertEqual(twistd.end(), code)
            self.assertNotIn("Traceback", twistd.complained)
