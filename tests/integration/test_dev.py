"""micronode dev as a user runs it: real processes, real data, nothing left behind."""

import os
import pty
import signal
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, Program, ask, ask_json, children_of, eventually, is_alive


class DevTests(SynchronousTestCase):
    def dev(self, *argv: str, terminal: int | None = None) -> Program:
        """Start dev and wait until it serves."""
        program = Program(self, "dev", *FREE, *argv, terminal=terminal)
        self.http = program.until(r"http +(http://\S+)")[1]
        self.oap = program.until(r"oap +(oap://\S+)")[1]
        self.admin = program.until(r"admin +(http://\S+)")[1]
        program.until("Ctrl-C")
        ((self.owners, command),) = children_of(program.pid).items()
        self.assertIn("owners", command)
        return program

    def assertNothingLeft(self, program: Program) -> None:
        eventually(lambda: not is_alive(self.owners))
        self.assertNotIn("Traceback", program.complained)

    def test_serves_real_data_by_both_ways_until_interrupted(self) -> None:
        dev = self.dev()
        found = ask_json(f"{self.http}/app/search?q=reactor")
        self.assertIn("twisted", [hit["id"] for hit in found["hits"]])
        neighbors = ask_json(f"{self.http}/app/graph/neighbors/klein")
        self.assertTrue({"twisted", "werkzeug"} <= {node["id"] for node in neighbors["neighbors"]})
        self.assertTrue(ask_json(f"{self.admin}/readyz")["ready"])

        payload = bytes(range(256)) * 1000
        cid = ask_json(f"{self.http}/app/media", method="POST", body=payload)["cid"]
        self.assertEqual(ask(f"{self.http}/app/media/{cid}")[2], payload)
        get = Program(self, "call", self.oap, "media", "get", "--args", f'{{"cid": "{cid}"}}')
        self.assertEqual((get.end(), get.printed), (0, payload))

        query = Program(self, "call", self.oap, "search", "query", "--args", '{"q": "reactor"}')
        self.assertEqual(query.end(), 0, query.complained)
        self.assertEqual(query.printed, ask(f"{self.http}/app/search?q=reactor")[2])

        dev.kill(signal.SIGINT)
        self.assertEqual(dev.end(), 0)
        self.assertFalse([line for line in dev.printed.splitlines() if line.startswith(b"{")])
        self.assertNothingLeft(dev)

    def test_sigterm_and_hangup(self) -> None:
        dev = self.dev("--facets", "search")
        dev.kill(signal.SIGHUP)
        dev.until_complaint("config_unchanged")
        self.assertEqual(ask(f"{self.http}/app/search?q=x")[0], 200)
        dev.kill(signal.SIGTERM)
        self.assertEqual(dev.end(), 0)
        self.assertNothingLeft(dev)

    def test_owners_end_when_the_node_is_killed(self) -> None:
        dev = self.dev()
        dev.kill(signal.SIGKILL)
        self.assertEqual(dev.end(), -signal.SIGKILL)
        self.assertNothingLeft(dev)

    def test_ends_when_the_owners_die(self) -> None:
        dev = self.dev()
        os.kill(self.owners, signal.SIGKILL)
        self.assertEqual(dev.end(), 1)
        self.assertIn(
            "micronode: the owner services were ended by SIGKILL; stopping the node", dev.complained
        )
        self.assertNothingLeft(dev)

    def test_ctrl_c_in_a_terminal(self) -> None:
        master, terminal = pty.openpty()
        self.addCleanup(os.close, master)
        dev = self.dev(terminal=terminal)
        os.close(terminal)
        os.write(master, b"\x03")
        self.assertEqual(dev.end(), 0)
        self.assertNothingLeft(dev)
        shown = os.read(master, 65536).decode()
        self.assertNotIn("Traceback", shown)
        self.assertNotIn("KeyboardInterrupt", shown)

    def test_terminal_is_closed(self) -> None:
        master, terminal = pty.openpty()
        dev = self.dev(terminal=terminal)
        os.close(terminal)
        os.close(master)
        self.assertEqual(dev.end(), 0)
        self.assertNothingLeft(dev)

    def test_folder_as_corpus(self) -> None:
        with open(os.path.join(self.mktemp_directory(), "apple.md"), "w") as file:
            file.write("# Apple\n\nA page about cider presses.\n")
        dev = self.dev("--corpus", os.path.dirname(file.name))
        found = ask_json(f"{self.http}/app/search?q=cider")
        self.assertEqual([hit["id"] for hit in found["hits"]], ["apple.md"])
        dev.kill(signal.SIGTERM)
        self.assertEqual(dev.end(), 0)
        self.assertNothingLeft(dev)

    def mktemp_directory(self) -> str:
        name = os.path.abspath(self.mktemp())
        os.mkdir(name)
        return name


class DevRefusalTests(SynchronousTestCase):
    def test_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            dev = Program(self, "dev", *FREE[2:], "--http", address)
            dev.until("starting the owner services")
            self.assertEqual(dev.end(), 69)
        self.assertRegex(dev.complained, rf"(?m)^micronode: http\.listen {address}: address already in use; ")
        self.assertNotIn("Traceback", dev.complained)

    def test_owners_that_will_not_start(self) -> None:
        dev = Program(self, "dev", *FREE, "--corpus", "/nowhere")
        self.assertEqual(dev.end(), 78)
        self.assertIn("/nowhere", dev.complained)
        self.assertIn("before they were ready", dev.complained)

    def test_stopped_while_the_owners_load(self) -> None:
        dev = Program(self, "dev", *FREE)
        dev.until("starting the owner services")
        eventually(lambda: children_of(dev.pid))
        (owners,) = children_of(dev.pid)
        dev.kill(signal.SIGTERM)
        self.assertEqual(dev.end(), 0)
        eventually(lambda: not is_alive(owners))
