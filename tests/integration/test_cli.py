"""The commands as processes: exit codes, one-line errors, bytes through pipes."""

import json
import os
import pty
import shlex
import shutil
import signal
import socket
import stat
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode import __version__
from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program, ask, ask_json, eventually, is_alive


def without(gone: str) -> tuple[str, ...]:
    """Return what runs micronode without some standard streams, as a shell takes them away."""
    shell = f'exec {shlex.quote(sys.executable)} -m micronode "$@" {gone}'
    return "-c", f"import os, sys; os.execv('/bin/sh', ['sh', '-c', {shell!r}, 'sh', *sys.argv[1:]])"


class RunTests(SynchronousTestCase):
    def sockets(self) -> tuple[list[str], Path]:
        """Return flags that listen on Unix sockets, and their folder.

        Not below the folder of the run: a socket's path holds 107 bytes.
        """
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return [word for n in ("http", "admin", "oap") for word in (f"--{n}", f"unix:{folder}/{n}")], folder

    def test_the_first_process_of_a_container_hears_sigterm_before_it_serves(self) -> None:
        """There the kernel drops a signal that nothing handles, and whoever stops it waits in vain."""
        run = Program(
            self,
            "run",
            python=(
                "-c",
                "import os, time; os.getpid = lambda: 1\n"
                "from micronode.cli import main\n"
                "main._run = lambda arguments: print('begun', flush=True) or time.sleep(60)\n"
                "main.main()",
            ),
        )
        run.until("begun")
        run.kill(signal.SIGTERM)
        self.assertEqual(run.end(), 128 + signal.SIGTERM)

    def test_from_start_to_end(self) -> None:
        run = Program(self, "run", *FREE, *NO_OWNERS, "--set", "drain.grace=0s")
        line = run.until_complaint(r'.*"listener":"http","address":"([^"]+)".*')
        self.assertEqual(json.loads(line[0])["event"], "listening")
        status, headers, body = ask(f"http://{line[1]}/app/search?q=x")
        self.assertEqual((status, json.loads(body)["code"]), (503, "owner_unavailable"))
        self.assertIn("retry-after", headers)
        run.kill(signal.SIGHUP)
        run.until_complaint("config_unchanged")
        run.kill(signal.SIGTERM)
        self.assertEqual((run.end(), run.printed), (0, b""))
        self.assertNotIn("Traceback", run.complained)

    def test_a_log_that_nobody_reads_stops_nothing(self) -> None:
        self.unread(*os.pipe())

    def test_a_terminal_that_takes_no_more_stops_nothing(self) -> None:
        self.unread(*pty.openpty())

    def unread(self, near: int, far: int) -> None:
        flags, folder = self.sockets()
        self.addCleanup(os.close, near)
        run = Program(self, "run", *flags, *NO_OWNERS, "--set", "drain.grace=0s", stderr=far)
        os.close(far)
        eventually(lambda: (folder / "http").exists())
        line = b"GET /app/search?q=x HTTP/1.1\r\nHost: node\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(PATIENCE_S)
            caller.connect(str(folder / "http"))
            # Four times what a pipe holds, one call after the other.
            for _ in range(1500):
                caller.sendall(line)
                self.assertIn(b" 503 ", caller.recv(65_536))
        run.kill(signal.SIGTERM)
        self.assertEqual(run.end(), 0)

    def test_without_standard_streams(self) -> None:
        flags, folder = self.sockets()
        argv = ["run", *flags, *NO_OWNERS, "--set", "drain.grace=0s"]
        run = Program(self, *argv, python=without("0<&- 1>&- 2>&-"))
        eventually((folder / "http").exists)
        self.assertEqual(
            [os.readlink(f"/proc/{run.pid}/fd/{number}") for number in range(3)], ["/dev/null"] * 3
        )
        run.kill(signal.SIGTERM)
        self.assertEqual(run.end(), 0)

    def test_a_second_signal_ends_the_grace(self) -> None:
        run = Program(self, "run", *FREE, *NO_OWNERS, "--set", "drain.grace=1h")
        admin = run.until_complaint(r'"listener":"admin","address":"([^"]+)"')[1]
        run.kill(signal.SIGINT)
        eventually(lambda: ask(f"http://{admin}/readyz")[0] == 503)
        run.kill(signal.SIGINT)
        self.assertEqual(run.end(), 0)

    def test_unix_sockets(self) -> None:
        flags, folder = self.sockets()
        run = Program(self, "run", *flags, *NO_OWNERS, "--set", "drain.grace=0s")
        run.until_complaint('"running"')
        for name in ("http", "admin", "oap"):
            self.assertTrue(stat.S_ISSOCK((folder / name).stat().st_mode))
        call = Program(self, "call", f"unix:{folder}/oap", "search", "query", "--args", '{"q":"x"}')
        self.assertEqual(call.end(), 1)
        self.assertRegex(
            call.complained,
            r"\Amicronode: search\.query: owner_unavailable \(503\): .*; try again in \d+ ms; "
            r"request_id \w+\n\Z",
        )
        run.kill(signal.SIGTERM)
        self.assertEqual(run.end(), 0)

    def test_port_in_use_names_the_listener(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for name in ("http", "admin", "oap"):
                others = [
                    f"--set={each}.listen=127.0.0.1:0" for each in ("http", "admin", "oap") if each != name
                ]
                run = Program(self, "run", *others, f"--{name}", address)
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
        head = self.call(oap, "media", "head", "--args", args)
        self.assertEqual((head.end(), head.printed), (0, b""))
        self.assertEqual(json.loads(head.complained)["length"], 3_000_000)
        empty = self.call(oap, "media", "put", "--body", "/dev/null")
        self.assertEqual(empty.end(), 0, empty.complained)
        nothing = self.call(oap, "media", "get", "--args", empty.printed.decode())
        self.assertEqual((nothing.end(), nothing.printed), (0, b""))

        wrong = self.call(http.replace("http:", "oap:"), "search", "query")
        self.assertEqual(wrong.end(), 69)
        self.assertRegex(
            wrong.complained, r"\Amicronode: no OAP/1 connection .+ HTTP port; .+ oap\.listen .+\n\Z"
        )

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
            (["feed", "recv"], 1, r"feed\.recv: bad_request \(400\): .+"),
            (["0x7001", "fly"], 1, r".+\.fly: unknown_app \(501\): .+"),
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

        # Nowhere to print it, and nothing to send.
        for options in ([], ["--stream"]):
            got = Program(self, "call", oap, "media", "get", "--args", args, *options, python=without(">&-"))
            self.assertEqual((got.end(), got.printed), (1, b""))
            self.assertEqual(got.complained, "micronode: cannot write the body: Bad file descriptor\n")
        sent = Program(self, "call", oap, "media", "put", "--body", "-", python=without("<&-"))
        self.assertEqual((sent.end(), sent.printed), (64, b""), sent.complained)
        self.assertIn("--body -: standard input is closed", sent.complained)
        told = Program(self, "version", python=without(">&-"))
        self.assertEqual(told.end(), 1)
        self.assertEqual(told.complained, "micronode: cannot write to standard output: Bad file descriptor\n")

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
            ["oap://127.0.0.1:1", "media", "put"],
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

    def test_output_that_is_lost(self) -> None:
        with open("/dev/full", "wb") as full:
            # argparse prints the second, and leaves it to the interpreter to write it.
            programs = [
                Program(self, *argv, stdout=full.fileno()) for argv in (["version"], ["owners", "--help"])
            ]
            silent = Program(self, "no-such-command", stderr=full.fileno())
        self.assertEqual(silent.end(), 64)
        for program in programs:
            self.assertEqual(program.end(), 1)
            self.assertEqual(
                program.complained, "micronode: cannot write to standard output: No space left on device\n"
            )
