"""The commands as processes: exit codes, one-line errors, bytes through pipes."""

import json
import os
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode import __version__
from tests.cli.processes import FREE, Program, ask, ask_json, eventually, is_alive


class RunTests(SynchronousTestCase):
    def sockets(self) -> tuple[list[str], Path]:
        """Return flags that listen on Unix sockets, and their folder.

        Not below the folder of the run: a socket's path holds 107 bytes.
        """
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return [word for n in ("http", "admin", "oap") for word in (f"--{n}", f"unix:{folder}/{n}")], folder

    def test_from_start_to_end(self) -> None:
        run = Program(self, "run", *FREE, "--set", "drain.grace=0s")
        line = run.until_complaint(r'.*"listener":"http","address":"([^"]+)".*')
        self.assertEqual(json.loads(line[0])["event"], "listening")
        status, headers, body = ask(f"http://{line[1]}/app/search?q=x")
        self.assertEqual((status, json.loads(body)["code"]), (503, "owner_unavailable"))
        self.assertIn("retry-after", headers)
        run.kill(signal.SIGHUP)
        run.until_complaint("reload_unavailable")
        run.kill(signal.SIGTERM)
        self.assertEqual((run.end(), run.printed), (0, b""))
        self.assertNotIn("Traceback", run.complained)

    def test_a_second_signal_ends_the_grace(self) -> None:
        run = Program(self, "run", *FREE, "--set", "drain.grace=1h")
        admin = run.until_complaint(r'"listener":"admin","address":"([^"]+)"')[1]
        run.kill(signal.SIGINT)
        eventually(lambda: ask(f"http://{admin}/readyz")[0] == 503)
        run.kill(signal.SIGINT)
        self.assertEqual(run.end(), 0)

    def test_unix_sockets(self) -> None:
        flags, folder = self.sockets()
        run = Program(self, "run", *flags, "--set", "drain.grace=0s")
        run.until_complaint('"running"')
        for name in ("http", "admin", "oap"):
            self.assertTrue(stat.S_ISSOCK((folder / name).stat().st_mode))
        call = Program(self, "call", f"unix:{folder}/oap", "search", "query", "--args", '{"q":"x"}')
        self.assertEqual(call.end(), 1)
        self.assertRegex(
            call.complained,
            r"\Amicronode: search\.query: owner_unavailable \(503\): .*; try again in \d+ ms\n\Z",
        )
        run.kill(signal.SIGTERM)
        self.assertEqual(run.end(), 0)

    def test_port_in_use_names_the_listener(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for name in ("http", "admin", "oap"):
                run = Program(self, "run", *FREE, f"--{name}", address)
                self.assertEqual(run.end(), 69)
                (line,) = [text for text in run.complained.splitlines() if text.startswith("micronode: ")]
                self.assertTrue(
                    line.startswith(f"micronode: {name}.listen {address}: address already in use")
                )
                self.assertEqual(run.complained.count("\n"), 1)

    def test_refused_configuration(self) -> None:
        file = Path(self.mktemp()).resolve()
        file.write_text('[http]\nlisen = "x"\n[drain]\ngrace = 5\n')
        run = Program(self, "run", "--config", str(file), "--set", "oap.listen=0.0.0.0:0")
        self.assertEqual(run.end(), 78)
        self.assertEqual(
            [line.split(": ")[1] for line in run.complained.splitlines()],
            [f"{file}:2", f"{file}:4", "flag --set oap.listen"],
        )


class CallTests(SynchronousTestCase):
    def call(self, *argv: str) -> Program:
        return Program(self, "call", *argv)

    def test_against_a_node(self) -> None:
        dev = Program(self, "dev", *FREE)
        oap = dev.until(r"oap +(oap://\S+)")[1]
        http = dev.until(r"http +(http://\S+)")[1]
        admin = dev.until(r"admin +(http://\S+)")[1]
        dev.until("Ctrl-C")

        file = Path(self.mktemp()).resolve()
        file.write_bytes(os.urandom(3_000_000))
        put = self.call(oap, "media", "put", "--body", str(file), "--head")
        self.assertEqual(put.end(), 0, put.complained)
        self.assertEqual(json.loads(put.complained)["status"], 201)
        cid = json.loads(put.printed)["cid"]
        self.assertEqual(ask(f"{http}/app/media/{cid}")[2], file.read_bytes())

        args = json.dumps({"cid": cid})
        self.assertEqual(self.printed_by(oap, "media", "get", "--args", args), file.read_bytes())
        part = json.dumps({"cid": cid, "range": "bytes=5-9"})
        self.assertEqual(self.printed_by(oap, "media", "get", "--args", part), file.read_bytes()[5:10])

        for argv, code, line in [
            (
                ["media", "get", "--args", '{"cid":"b3:' + "0" * 64 + '"}'],
                1,
                r"media\.get: not_found \(404\): .+",
            ),
            (["search", "query", "--args", "{}"], 1, r"search\.query: bad_request \(400\): .+"),
            (["search", "fly"], 1, r"search\.fly: unknown_op \(501\): .+"),
            (["feed", "recv"], 1, r"feed\.recv: unknown_app \(501\): .+"),
        ]:
            failed = self.call(oap, *argv)
            self.assertEqual(failed.end(), code, failed.complained)
            self.assertRegex(failed.complained, rf"\Amicronode: {line}\n\Z")
            self.assertEqual(failed.printed, b"")

        reader = self.call(oap, "media", "get", "--args", args)
        assert reader.process.stdout is not None
        self.assertEqual(len(reader.process.stdout.read(10)), 10)
        reader.process.stdout.close()
        reader.process.wait(30)
        self.assertEqual((reader.process.returncode, reader.complained), (1, ""))

        read, write = os.pipe()
        piped = Program(self, "call", oap, "media", "put", "--body", "-", stdin=read)
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(file.read_bytes())
        self.assertEqual((piped.end(), json.loads(piped.printed)["cid"]), (0, cid), piped.complained)

        read, write = os.pipe()
        waiting = Program(self, "call", oap, "media", "put", "--body", "-", stdin=read)
        os.close(read)
        eventually(lambda: b"oap_streams 1" in ask(f"{admin}/metrics")[2])
        waiting.kill(signal.SIGINT)
        self.assertEqual((waiting.end(), waiting.complained), (1, ""))
        os.close(write)

        # The node outlived all of that.
        self.assertTrue(ask_json(f"{http}/app/search?q=reactor")["hits"])
        dev.kill(signal.SIGTERM)
        self.assertEqual(dev.end(), 0)
        self.assertFalse(is_alive(dev.pid))

    def printed_by(self, *argv: str) -> bytes:
        call = self.call(*argv)
        self.assertEqual(call.end(), 0, call.complained)
        return call.printed

    def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            target = f"oap://127.0.0.1:{free.getsockname()[1]}"
        for address in (target, "unix:/nowhere/at/all"):
            call = self.call(address, "search", "query")
            self.assertEqual(call.end(), 69)
            self.assertRegex(call.complained, rf"\Amicronode: cannot connect to {address}: .+\n\Z")

    def test_usage(self) -> None:
        for argv in (
            ["http://127.0.0.1:1", "search", "query"],
            ["oap://127.0.0.1", "search", "query"],
            ["oaps://127.0.0.1:1", "search", "query"],
            ["oap://127.0.0.1:1", "search"],
            ["oap://127.0.0.1:1", "serch", "query"],
            ["oap://127.0.0.1:1", "search", "query", "--args", "["],
            ["oap://127.0.0.1:1", "media", "put", "--body", "/nowhere"],
        ):
            call = self.call(*argv)
            self.assertEqual(call.end(), 64, argv)
            self.assertRegex(call.complained, r"\Amicronode: .+\n\Z")


class VersionTests(SynchronousTestCase):
    def test_version(self) -> None:
        version = Program(self, "version")
        self.assertEqual((version.end(), version.printed), (0, f"micronode {__version__}\n".encode()))
        version = Program(self, "version", "--json")
        self.assertEqual(version.end(), 0)
        self.assertEqual(json.loads(version.printed)["version"], __version__)
