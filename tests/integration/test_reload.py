"""Reloading a node that runs, as its operators do it: a signal, a file that changed, commands."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, Program, ask, ask_json, eventually
from tests.integration.test_twistd import TWISTD

#: What the script ``twist`` does.
TWIST = "import sys; from twisted.application.twist._twist import Twist; Twist.main(['twist', *sys.argv[1:]])"
FIRST = '[drain]\ngrace = "0s"\n[facets.search]\nlimit = 5\n'
SECOND = '[drain]\ngrace = "0s"\n[facets.search]\nlimit = 7\n[log]\nlevel = "debug"\n'
BAD = FIRST + "[facets.serach]\nlimit = 5\n"
RESTART = FIRST + '[log]\nformat = "console"\n'
#: Runs micronode with an admin plane that obeys everybody: nothing can be shown to this release's.
OBEDIENT = (
    "import sys; import micronode.node; micronode.node.refuse_everybody = lambda head: None; "
    "from micronode.cli.main import main; sys.exit(main())"
)


class AnswerWatch(threading.Thread):
    """Asks a URL all the time, and keeps every status that it got; 0: it got none."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._over = threading.Event()
        self.seen: set[int] = set()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.005):
            try:
                self.seen.add(ask(self._url)[0])
            except OSError:
                self.seen.add(0)

    def end(self) -> set[int]:
        self._over.set()
        self.join(30)
        return self.seen


class ReloadCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.folder, self.file = folder, folder / "node.toml"
        self.file.write_text(FIRST)

    def run_node(self, *argv: str, admin: str = "127.0.0.1:0", **how: Any) -> Program:
        """Start `micronode run` and wait until it serves."""
        listen = [word for name in ("http", "oap") for word in (f"--{name}", "127.0.0.1:0")]
        argv = ("run", *listen, "--admin", admin, *NO_OWNERS, *argv)
        node = Program(self, *argv, **how)
        self.admin = node.until_complaint(r'"listener":"admin","address":"([^"]+)"')[1]
        node.until_complaint('"running"')
        return node

    def sha(self) -> str:
        return str(ask_json(f"http://{self.admin}/version")["runtime"]["config_sha"])

    def reloads(self, outcome: str) -> float:
        body = ask(f"http://{self.admin}/metrics")[2].decode()
        found = re.search(rf'^config_reloads_total{{outcome="{outcome}"}} (\S+)$', body, re.M)
        return float(found[1]) if found else -1.0

    def counted(self, outcome: str, count: float) -> bool:
        return self.reloads(outcome) == count

    def tell(self, *argv: str) -> tuple[int, str, str]:
        """Run a command against the node; return its exit code and what it printed."""
        command = Program(self, *argv, "--admin", self.admin)
        code = command.end()
        self.assertNotIn("Traceback", command.complained)
        return code, command.printed.decode(), command.complained


class SighupTests(ReloadCase):
    """One way to reload, under whatever runs the node."""

    def reload(self, program: Program, log: Any, *watches: AnswerWatch) -> None:
        """Reload well, badly, and well again; nothing of it is felt by who asks whether it is ready.

        :param log: returns all that was logged so far.
        :param watches: who shall not feel it either.
        """
        first, watches = self.sha(), (AnswerWatch(f"http://{self.admin}/readyz"), *watches)
        for text, outcome in (
            (SECOND, "applied"),
            (BAD, "refused"),
            (SECOND, "unchanged"),
            (RESTART, "applied"),
        ):
            before, sha = self.reloads(outcome), self.sha()
            self.file.write_text(text)
            program.kill(signal.SIGHUP)
            eventually(partial(self.counted, outcome, before + 1), log)
            self.assertEqual(self.sha() != sha, outcome == "applied")
        self.assertEqual([watch.end() for watch in watches], [{200}] * len(watches))
        self.assertEqual(self.sha(), first)
        told = ("config_reloaded", "config_refused", "config_unchanged", "config_restart_needed")
        eventually(lambda: all(event in log() for event in told), log)
        self.assertIn(f"{self.file}:5", log())
        self.assertIn("did you mean search?", log())
        self.assertIn("log.format", log())
        self.assertNotIn("Traceback", log())
        status = ask_json(f"http://{self.admin}/api/v1/status")["config"]
        self.assertEqual(status["restart_required"], ["log.format"])
        self.assertEqual(status["last_reload"]["outcome"], "applied")
        program.kill(signal.SIGTERM)

    def test_run(self) -> None:
        node = self.run_node("--config", str(self.file))
        self.reload(node, lambda: node.complained)
        self.assertEqual(node.end(), 0)

    def test_dev(self) -> None:
        """Its owners are in no file, and stay what they were."""
        dev = Program(self, "dev", *FREE, "--config", str(self.file))
        http, self.admin = (dev.until(rf"{name} +http://(\S+)")[1] for name in ("http", "admin"))
        dev.until("Ctrl-C")
        eventually(self.owners_are_up)
        watch = AnswerWatch(f"http://{http}/app/search?q=x")
        self.reload(dev, lambda: dev.complained, watch)
        self.assertEqual(dev.end(), 0)
        self.assertNotIn("owner_changed", dev.complained)

    def owners_are_up(self) -> bool:
        owners = ask_json(f"http://{self.admin}/api/v1/status")["owners"]
        return len(owners) == 5 and all(each["state"] == "ok" for each in owners)

    def test_twistd(self) -> None:
        argv = ("-n", "micronode", *FREE, *NO_OWNERS, "--config", str(self.file))
        twistd = Program(self, *argv, python=("-c", TWISTD))
        self.below_twisted(twistd)

    def test_twist(self) -> None:
        argv = ("micronode", *FREE, *NO_OWNERS, "--config", str(self.file))
        twist = Program(self, *argv, python=("-c", TWIST))
        self.below_twisted(twist)

    def below_twisted(self, program: Program) -> None:
        """It logs on standard output."""
        self.admin = program.until(r'"listener": ?"admin", ?"address": ?"([^"]+)"')[1]

        def log() -> str:
            stream = program.process.stdout
            assert stream is not None
            while select.select([stream], [], [], 0)[0] and (data := os.read(stream.fileno(), 65_536)):
                program.printed += data
            return program.printed.decode("utf-8", "replace")

        self.reload(program, log)
        self.assertIn(program.end(), (0, -signal.SIGTERM))


class SourceTests(ReloadCase):
    def test_level_of_the_log(self) -> None:
        node = self.run_node("--config", str(self.file))
        ask(f"http://{self.admin}/healthz")
        self.assertNotIn('"route":"healthz"', node.complained)
        self.file.write_text(SECOND)
        node.kill(signal.SIGHUP)
        node.until_complaint("config_reloaded")
        ask(f"http://{self.admin}/healthz")
        node.until_complaint('"level":"debug".*"route":"healthz"')
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)

    def refused(self, node: Program, reason: str) -> None:
        sha = self.sha()
        node.kill(signal.SIGHUP)
        line = node.until_complaint(r'.*"config_refused".*')[0]
        self.assertIn(reason, json.loads(line)["reason"])
        self.assertEqual((self.sha(), ask(f"http://{self.admin}/readyz")[0]), (sha, 200))
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)

    def piped(self) -> int:
        near, far = os.pipe()
        os.write(far, FIRST.encode())
        os.close(far)
        self.addCleanup(os.close, near)
        return near

    def test_standard_input(self) -> None:
        node = self.run_node("--config", "-", stdin=self.piped())
        self.refused(node, "came from standard input, which cannot be read again")

    def test_a_pipe(self) -> None:
        node = self.run_node("--config", "/dev/stdin", stdin=self.piped())
        self.refused(node, "came from the pipe '/dev/stdin', which cannot be read again")

    def test_a_fifo(self) -> None:
        self.file.unlink()
        os.mkfifo(self.file)
        writer = threading.Thread(target=self.file.write_text, args=(FIRST,), daemon=True)
        writer.start()
        node = self.run_node("--config", str(self.file))
        writer.join(30)
        self.refused(node, "which cannot be read again")

    def test_a_file_that_vanished(self) -> None:
        node = self.run_node("--config", str(self.file))
        self.file.unlink()
        self.refused(node, "no such file")

    def test_while_it_stops(self) -> None:
        self.file.write_text(FIRST.replace('"0s"', '"1h"'))
        node = self.run_node("--config", str(self.file))
        node.kill(signal.SIGTERM)
        eventually(lambda: ask(f"http://{self.admin}/readyz")[0] == 503)
        node.kill(signal.SIGHUP)
        node.until_complaint("config_reload_ignored")
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)


class CommandTests(ReloadCase):
    """The commands against a node, over both kinds of socket."""

    def test_over_tcp(self) -> None:
        self.commands(self.run_node("--config", str(self.file)))

    def test_over_a_unix_socket(self) -> None:
        self.commands(self.run_node("--config", str(self.file), admin=f"unix:{self.folder}/admin"))

    def commands(self, node: Program) -> None:
        code, printed, complained = self.tell("status")
        self.assertEqual((code, complained), (0, ""))
        self.assertIn("running, ready, degraded: index, mailbox\n", printed)
        self.assertIn("search 0/5", printed)
        self.assertEqual(self.tell("status", "--quiet"), (0, "", ""))
        self.assertEqual(self.tell("status", "--live")[0], 0)
        self.assertTrue(json.loads(self.tell("status", "--json")[1])["ready"])

        code, printed, _ = self.tell("reload", "--dry-run")
        self.assertEqual((code, printed.splitlines()[0][:20]), (0, "would change nothing"))
        self.file.write_text(RESTART.replace("5", "7"))
        code, printed, complained = self.tell("reload", "--dry-run")
        self.assertEqual((code, complained), (0, ""))
        self.assertRegex(printed, rf"(?m)^  facets.search.limit +{self.file}:4$")
        self.assertRegex(printed, rf"(?m)^  log.format +{self.file}:6 +needs a restart$")
        self.file.write_text(BAD + "[http]\nidel = 1\n")
        code, printed, complained = self.tell("reload", "--dry-run")
        self.assertEqual((code, printed), (78, ""))
        self.assertEqual(complained.count(f"micronode: {self.file}:"), 2, complained)
        self.assertIn("search 0/5", self.tell("status")[1])

        for command in ("reload", "drain"):
            code, printed, complained = self.tell(command)
            self.assertEqual((code, printed), (1, ""))
            self.assertRegex(
                complained, r"\Amicronode: .* refuses: .*SIGHUP to reload, SIGTERM to drain.*\n\Z"
            )
        node.kill(signal.SIGTERM)
        self.assertEqual(node.end(), 0)
        self.assertEqual(self.tell("status")[0], 69)

    def test_a_node_that_obeys(self) -> None:
        node = self.run_node("--config", str(self.file), python=("-c", OBEDIENT))
        self.file.write_text(RESTART.replace("5", "7"))
        code, printed, complained = self.tell("reload")
        self.assertEqual((code, complained), (0, ""))
        self.assertEqual(printed.splitlines()[0][:46], "reloaded: 1 key changed; 1 needs a restart (sh")
        self.assertIn("search 0/7", self.tell("status")[1])
        self.assertIn("  restart for   log.format\n", self.tell("status")[1])
        self.file.write_text(BAD)
        code, printed, complained = self.tell("reload")
        self.assertEqual((code, printed), (1, ""))
        self.assertRegex(complained, r"did you mean search\?.*\n.*not reloaded: .* stays in force\n\Z")
        self.assertIn("search 0/7", self.tell("status")[1])
        code, printed, complained = self.tell("drain")
        self.assertEqual((code, complained), (0, ""))
        self.assertIn("is draining", printed)
        # Nobody sent it a signal.
        self.assertEqual(node.end(), 0)

    def test_drained_below_twistd(self) -> None:
        argv = ("-n", "micronode", *FREE, *NO_OWNERS, "--config", str(self.file))
        obedient = OBEDIENT.replace("from micronode.cli.main import main; sys.exit(main())", TWISTD)
        twistd = Program(self, *argv, python=("-c", obedient))
        self.admin = twistd.until(r'"listener":"admin","address":"([^"]+)"')[1]
        twistd.until('"running"')
        self.assertEqual(self.tell("drain")[0], 0)
        self.assertEqual(twistd.end(), 0)
