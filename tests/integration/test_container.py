"""The recipe of the image and the hook of the pod: built from what is copied, run as process 1, drained."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.cli.processes import (
    PATIENCE_S,
    Program,
    ask,
    ask_json,
    children_of,
    eventually,
    is_alive,
)
from tests.conf.containerfile import PATH, read
from tests.conf.manifests import FOLDER, ROOT, TOML, MountedFile
from tests.conf.manifests import read as read_manifest
from tests.integration.test_packaging import artefacts, run

#: What replaces itself by its arguments.
_EXEC = ("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])")


class BuildTests(SynchronousTestCase):
    def test_what_is_copied_makes_the_wheel(self) -> None:
        """The build stage's own command, on the files of the checkout that its COPY lines name."""
        artefact = artefacts()
        build = read(PATH.read_text("utf-8"))[1][0]
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for copied in build.all("COPY"):
            *sources, _ = copied.split()
            for name in artefact.files:
                if any(name == source or name.startswith(f"{source}/") for source in sources):
                    (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, folder / "src" / name)
        command = build.words("RUN")[0]
        self.assertEqual(command[:2], ["pip", "wheel"])
        words = [str(folder / "wheels") if word == "/wheels" else word for word in command[1:]]
        offline = ("--no-index", "--no-build-isolation", "--quiet")
        run(sys.executable, "-m", "pip", *words, *offline, cwd=folder / "src")
        (wheel,) = (folder / "wheels").iterdir()
        self.assertEqual(wheel.name, artefact.wheel.name)
        with zipfile.ZipFile(wheel) as ours, zipfile.ZipFile(artefact.wheel) as theirs:
            self.assertEqual(set(ours.namelist()), set(theirs.namelist()))


class PodTests(SynchronousTestCase):
    """The node as process 1 of a process namespace, under the pod's own file and command."""

    def setUp(self) -> None:
        # Root makes a process namespace; others make one inside a user namespace, where that is allowed.
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        self.unshare = ["unshare", *own, "--pid", "--fork", "--kill-child"]
        self.join = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        if (
            shutil.which("unshare") is None
            or subprocess.run([*self.unshare, "true"], capture_output=True).returncode
        ):
            raise SkipTest("no process namespace can be made here")
        self.sockets = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.sockets)
        pod = read_manifest("deployment.yaml")["spec"]["template"]["spec"]
        self.container = pod["initContainers"][0]
        self.mounted = MountedFile(Path(self.mktemp()).absolute())
        self.write()

    def write(self, *changes: tuple[str, str]) -> None:
        """Mount the pod's file, with a folder for its sockets, any ports and a short drain; and *changes*."""
        text = TOML.read_text("utf-8")
        fitting = (
            ("unix:/run/micronode", f"unix:{self.sockets}"),
            ("127.0.0.1:5310", "127.0.0.1:0"),
            ("127.0.0.1:5311", "127.0.0.1:0"),
            ('grace = "20s"', 'grace = "3s"'),
            ("http://replace-with-your-", "http://127.0.0.1:9/"),
            (":5321", ""),
            (":5323", ""),
        )
        for old, new in (*fitting, *changes):
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.mounted.publish(text)

    def start(self) -> Program:
        """Start the node as the image and the manifest say."""
        final = read(PATH.read_text("utf-8"))[1][-1]
        self.assertEqual(final.words("ENTRYPOINT"), [["micronode"]])
        node = Program(
            self,
            *self.unshare,
            "env",
            f"MICRONODE_CONFIG={self.mounted.path}",
            *(sys.executable, "-m", "micronode", *self.container["args"]),
            python=_EXEC,
        )
        node.until_complaint('"running"')
        (self.pid,) = children_of(node.pid)
        self.admin = node.until_complaint(r'"listener":"admin","address":"([^"]+)"')[1]
        self.http = node.until_complaint(r'"listener":"http","address":"([^"]+)"')[1]
        return node

    def execute(self, *command: str) -> subprocess.Popen[bytes]:
        """Start *command* in the node's namespace, as a kubelet does with a hook or a probe."""
        python = [sys.executable, "-m", "micronode"] if command[0] == "micronode" else [command[0]]
        words = ["nsenter", "--target", str(self.pid), *self.join, "--pid", "--", *python, *command[1:]]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MICRONODE_CONFIG": str(self.mounted.path),
            # The pod's is the default one; here it is any port.
            "MICRONODE_ADMIN_LISTEN": self.admin,
        }
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ)
        self.addCleanup(process.communicate, timeout=PATIENCE_S)
        self.addCleanup(process.kill)
        return process

    def finish(self, *command: str) -> tuple[int, str]:
        """Run *command* as :meth:`execute` does to its end; return its exit code and what it printed."""
        process = self.execute(*command)
        printed, _ = process.communicate(timeout=PATIENCE_S)
        return process.returncode, printed.decode()

    def probes(self) -> dict[str, int]:
        """Return the exit code of each probe of the pod."""
        found = {}
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            code, printed = self.finish(*self.container[name]["exec"]["command"])
            self.assertEqual(printed, "")
            found[name.removesuffix("Probe")] = code
        return found

    def config_sha(self) -> str:
        return str(ask_json(f"http://{self.admin}/version")["runtime"]["config_sha"])

    def test_probes(self) -> None:
        """A node that drains is not ready, and not to be killed for it."""
        self.write(('grace = "3s"', 'grace = "1m"'))
        node = self.start()
        self.assertEqual(self.probes(), {"startup": 0, "liveness": 0, "readiness": 0})
        os.kill(self.pid, signal.SIGTERM)
        node.until_complaint('"draining"')
        self.assertEqual(self.probes(), {"startup": 0, "liveness": 0, "readiness": 1})
        # A second signal, since what is left of the grace is of no interest here.
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(node.end(), 0)

    def test_a_changed_file_by_the_page(self) -> None:
        """Every command that the page runs in a pod; an update of a ConfigMap, and SIGHUP to process 1."""
        page = (FOLDER / "README.rst").read_text("utf-8")
        found = re.findall(r"^ +kubectl exec \S+ -c micronode -- (.+)$", page, re.MULTILINE)
        commands = [shlex.split(each) for each in found]
        hang_up = ["/bin/sh", "-c", "kill -HUP 1"]
        self.assertEqual(len(commands), 6)
        self.assertIn(hang_up, commands)
        node = self.start()
        before = self.config_sha()
        self.write(
            ('level = "info"', 'level = "warning"\n[facets.search]\nlimit = 7'), ('format = "json"\n', "")
        )
        for command in commands:
            # No owner is there to be asked.
            self.assertEqual(self.finish(*command)[0], int("--deep" in command), command)
        eventually(lambda: self.config_sha() != before)
        changed = self.config_sha()
        self.write(('level = "info"', 'levle = "info"'))
        self.assertEqual(self.finish(*hang_up)[0], 0)
        node.until_complaint("did you mean level")
        self.assertEqual(self.config_sha(), changed)
        self.assertEqual(ask(f"http://{self.admin}/readyz")[0], 200)
        for _ in range(2):
            os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(node.end(), 0)

    def test_the_hook_drains(self) -> None:
        """In order, unhurried: the node serves for its grace, and the hook lasts as long as the node."""
        node = self.start()
        self.assertTrue(os.path.exists(f"{self.sockets}/oap.sock"))
        hook = self.execute(*self.container["lifecycle"]["preStop"]["exec"]["command"])
        node.until_complaint('"draining"')
        self.assertEqual(ask(f"http://{self.admin}/readyz")[0], 503)
        self.assertEqual(ask(f"http://{self.admin}/healthz")[0], 200)
        self.assertEqual(ask(f"http://{self.http}/app/search?q=x")[0], 503)
        self.assertIsNone(hook.poll(), "the hook is over before the node is")
        self.assertEqual(node.end(), 0)
        # The namespace ends with its process 1, and the hook with it.
        self.assertNotEqual(hook.wait(PATIENCE_S), 0)
        states = {
            line["state"]: line["ts"]
            for line in map(json.loads, node.complained.splitlines())
            if line["event"] == "state"
        }
        self.assertEqual(list(states), ["running", "draining", "stopped"])
        # Not hurried; at least its grace, however slow the machine is.
        drained, stopped = (datetime.fromisoformat(states[name]) for name in ("draining", "stopped"))
        self.assertGreaterEqual((stopped - drained).total_seconds(), 3.0)
        self.assertFalse(is_alive(self.pid))
