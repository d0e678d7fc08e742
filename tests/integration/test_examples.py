"""What the README and ``docs/examples/`` say, done: as a user would, against real processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, PATIENCE_S, ROOT, Program, ask, eventually, run_example, run_python
from tests.support.runbook import Sandbox
from tests.support.servers import free_port
from tests.support.tools import require_tool

#: What ends commands of the README that go on until Ctrl-C.
ENDLESS = ("/events", "--subscribe --ack")
OWNERS_FREE = ("--index", "127.0.0.1:0", "--storage", "127.0.0.1:0")


def commands_of_readme() -> list[str]:
    """Return the commands that the README's "What to try" tells a user to paste."""
    text = (ROOT / "README.rst").read_text("utf-8")
    section = text.partition("What to try\n")[2].partition("\n\n\n")[0]
    return [
        line.strip()
        for line in section.splitlines()
        if re.match(r"    (curl|\.venv/bin/micronode call) ", line)
    ]


class ReadmeTests(SynchronousTestCase):
    def setUp(self) -> None:
        require_tool("curl")
        dev = Program(self, "dev", *FREE)
        self.ports = {
            "5310": dev.until(r"http +http://127\.0\.0\.1:(\d+)")[1],
            "5311": dev.until(r"admin +http://127\.0\.0\.1:(\d+)")[1],
            "5312": dev.until(r"oap +oap://127\.0\.0\.1:(\d+)")[1],
        }
        dev.until("Ctrl-C")

    def paste(self, command: str, cid: str) -> bytes:
        """Run *command* with the ports and the address of this run; return what it prints."""
        command = re.sub(r"\b(531[012])\b", lambda found: self.ports[found[1]], command)
        command = re.sub(r"<the cid[^>]*>", cid, command)
        command = command.replace(".venv/bin/micronode", f"{sys.executable} -m micronode", 1)
        done = subprocess.run(
            shlex.split(command),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr.decode()}")
        return done.stdout

    def test_every_command_does_what_it_says(self) -> None:
        commands = commands_of_readme()
        self.assertGreaterEqual(len(commands), 10)
        readme = (ROOT / "README.rst").read_bytes()
        cid = msg_id = ""
        for command in commands:
            if command.endswith(ENDLESS):
                continue
            printed = self.paste(command.replace("<the msg_id it printed>", msg_id), cid)
            if "<the cid" in command:
                self.assertEqual(printed, readme, command)
            elif "README.rst" in command:
                cid = json.loads(printed)["cid"]
                self.assertRegex(cid, r"\Ab3:[0-9a-f]{64}\Z")
            elif "search" in command:
                self.assertIn("twisted", [hit["id"] for hit in json.loads(printed)["hits"]], command)
            elif "neighbors" in command:
                found = {each["id"] for each in json.loads(printed)["neighbors"]}
                self.assertLessEqual({"twisted", "werkzeug"}, found, command)
            elif "feed recv" in command:
                (message,) = json.loads(printed)["messages"]
                msg_id = message["msg_id"]
            elif "/ack/" in command:
                self.assertEqual(printed, b"")
            elif "metrics" in command:
                self.assertIn(b"\nready_state 1.0\n", printed)
            else:
                self.assertIsInstance(json.loads(printed), dict, command)

    def test_attrs(self) -> None:
        text = (ROOT / "README.rst").read_text("utf-8")
        [command] = re.findall(r"(?m)^    (curl .*attrs=.+)$", text)
        self.assertIs(json.loads(self.paste(command, ""))["duplicate"], False)
        received = self.paste("curl -sX POST localhost:5310/app/feed/notes/recv", "")
        (message,) = json.loads(received)["messages"]
        self.assertEqual((message["attrs"], message["payload_b64"]), ({"lang": "en"}, "aGVsbG8="))


class ApartTests(SynchronousTestCase):
    """What the README says to see an owner die: the node does not die with them."""

    def test_the_node_goes_on(self) -> None:
        text = (ROOT / "README.rst").read_text("utf-8")
        [begin, run] = re.findall(
            r"(?m)^    \.venv/bin/micronode (owners) &\n    \.venv/bin/micronode (run .+) &$", text
        )[0]
        ports = {name: str(free_port()) for name in ("index", "mailbox", "storage", "overlay", "policy")}
        moved = [word for name, port in ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
        owners = Program(self, begin, *moved)
        found = [("--set", f"owners.{name}.url=http://127.0.0.1:{ports[name]}") for name in list(ports)[:3]]
        node = Program(self, *run.split(), *FREE, *(word for pair in found for word in pair))
        listening = node.until_complaint(r'"listener":"http","address":"(127\.0\.0\.1:\d+)"')
        url = f"http://{listening[1]}/app/search?q=reactor"
        eventually(lambda: ask(url)[0] == 200, "the owners are there")
        owners.kill(signal.SIGTERM)
        self.assertEqual(owners.end(), 0)
        status, _, body = ask(url)
        self.assertEqual((status, json.loads(body)["code"]), (503, "owner_unavailable"))


class ConfigurationTests(SynchronousTestCase):
    """The README's section on configuration: short, and its commands work."""

    def setUp(self) -> None:
        text = (ROOT / "README.rst").read_text("utf-8")
        self.section = text.partition("\nConfiguration\n-------------\n")[2].partition("\n\n\n")[0]

    def test_is_ten_lines(self) -> None:
        lines = [line for line in self.section.splitlines() if line.strip()]
        self.assertGreater(len(lines), 4)
        self.assertLessEqual(len(lines), 10)

    def test_its_commands_work(self) -> None:
        begin, run = re.findall(r"(?m)^    \.venv/bin/(.+)$", self.section)
        sandbox = Sandbox()
        self.addCleanup(sandbox.close)
        command = begin.replace(".venv/bin/", "")
        self.assertRegex(
            sandbox.run(command), r"\Aconfiguration in order \(my\.toml, 0 values set, sha [0-9a-f]{12}\)\n\Z"
        )
        # What would run, looked at instead.
        self.assertIn("2 values set", sandbox.run(run.replace("micronode run", "micronode check")))


class RulesTests(SynchronousTestCase):
    """The README's section on rules: the file and the command, as they are written."""

    def test_one_call_is_denied_and_others_are_not(self) -> None:
        section = (
            (ROOT / "README.rst").read_text("utf-8").partition("\nRules\n-----\n")[2].partition("\n\n\n")[0]
        )
        rules = Path(self.mktemp())
        rules.write_text(textwrap.dedent(re.findall(r"(?ms)^    \[\[rule\]\]$.+?(?=\n\n)", section)[0]))
        [argv] = re.findall(r"``bin/run_dev\.sh (--rules) rules\.toml``", section)
        [path] = re.findall(r"(?m)^    curl --data-binary @README\.rst localhost:5310(\S+)$", section)
        dev = Program(self, "dev", *FREE, argv, str(rules.resolve()))
        http = dev.until(r"http +(http://127\.0\.0\.1:\d+)")[1]
        oap = dev.until(r"oap +oap://(127\.0\.0\.1:\d+)")[1]
        dev.until("Ctrl-C")
        status, _, body = ask(http + path, "POST", b"some text")
        self.assertEqual(status, 403)
        for word in ("forbidden", "read only", "nothing is stored on Sundays"):
            self.assertIn(word, body.decode())
        self.assertEqual(ask(f"{http}/app/search?q=reactor")[0], 200)
        for name in ("client_twisted.py", "client_asyncio.py"):
            done = run_example(name, "oap://" + oap)
            self.assertEqual(done.returncode, 1, name)
            self.assertRegex(done.stderr, r"\Ait failed: .*nothing is stored on Sundays.*\n\Z", name)


class QuickstartTests(SynchronousTestCase):
    def test_embeds_a_node(self) -> None:
        report, write = os.pipe()
        owners = subprocess.Popen(
            [sys.executable, "-m", "micronode", "owners", "--report-fd", str(write), *OWNERS_FREE],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(owners.wait, PATIENCE_S)
        self.addCleanup(owners.terminate)
        os.close(write)
        with os.fdopen(report) as lines:
            urls = json.loads(lines.readline())
        done = run_example("quickstart.py", "reactor", urls["index"])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^twisted +Twisted: ")


class ClientTests(SynchronousTestCase):
    """The client, on Twisted's own reactor and on asyncio's event loop."""

    def setUp(self) -> None:
        dev = Program(self, "dev", *FREE)
        self.target = "oap://" + dev.until(r"oap +oap://(127\.0\.0\.1:\d+)")[1]
        dev.until("Ctrl-C")

    def test_both_do_the_same(self) -> None:
        for name, last in (
            ("client_twisted.py", "and of what is not there: not_found"),
            ("client_asyncio.py", "and one that was cancelled"),
        ):
            done = run_example(name, self.target, "twisted")
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertRegex(done.stdout, r"(?m)^twisted +Twisted: ")
            self.assertEqual(done.stdout.splitlines()[-2:], ["stored and fetched 4194304 bytes", last])

    def test_the_readme_s_own_program(self) -> None:
        text = (ROOT / "README.rst").read_text("utf-8")
        [program] = re.findall(
            r"(?ms)^    from twisted\.internet\.task import react$.+?^    react\(main\)$", text
        )
        done = run_python("-c", textwrap.dedent(program).replace("oap://127.0.0.1:5312", self.target))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        hits, passed, put = done.stdout.splitlines()
        self.assertIn('"hits"', hits)
        self.assertRegex(passed, r"^20[01] .*cid")
        self.assertIn('"cid"', put)


class FeedTests(SynchronousTestCase):
    """What the README says to see messages as they come."""

    def test_messages_are_seen_as_they_come(self) -> None:
        require_tool("curl")
        commands = commands_of_readme()
        sending = next(each for each in commands if "Idempotency-Key" in each)
        watching, calling = (each for each in commands if each.endswith(ENDLESS))
        dev = Program(self, "dev", *FREE)
        http = dev.until(r"http +http://(127\.0\.0\.1:\d+)")[1]
        target = dev.until(r"oap +oap://(127\.0\.0\.1:\d+)")[1]
        dev.until("Ctrl-C")

        def curl(command: str, *more: str) -> subprocess.CompletedProcess[bytes]:
            words = [*shlex.split(command.replace("localhost:5310", http)), "-sS", *more]
            return subprocess.run(words, capture_output=True, timeout=PATIENCE_S, check=False)

        sent = json.loads(curl(sending).stdout)
        seen = curl(watching, "-m", "1").stdout.decode()
        self.assertTrue(seen.startswith(f"id: {sent['msg_id']}\ndata: "), seen)
        words = shlex.split(calling.replace("127.0.0.1:5312", target))[1:]
        call = Program(self, *words, "--count", "1")
        self.assertEqual(call.end(), 0, call.complained)
        message = json.loads(call.printed)
        self.assertEqual((message["msg_id"], message["payload_b64"]), (sent["msg_id"], "aGVsbG8="))
        self.assertEqual(message["attempt"], 2, "nobody acknowledged it before")


class NobodyThereTests(SynchronousTestCase):
    def test_one_line_says_so(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            nobody = f"oap://127.0.0.1:{free.getsockname()[1]}"
        for name in ("client_twisted.py", "client_asyncio.py"):
            for target in (nobody, "elsewhere"):
                done = run_example(name, target)
                self.assertEqual((done.returncode, done.stdout), (1, ""), name)
                self.assertRegex(done.stderr, rf"\Ano node at {target}: .+\n\Z", name)
