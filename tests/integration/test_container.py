"""The recipe of the image and the hook of the pod: built from what is copied, run as process 1, drained."""

from __future__ import annotations

import json
import os
import shutil
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
    children_of,
    is_alive,
)
from tests.conf.containerfile import PATH, read
from tests.conf.manifests import ROOT
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
        self.file = Path(self.mktemp()).absolute()
        self.write()

    def write(self, *changes: tuple[str, str]) -> None:
        """Write the pod's file, with a folder for its sockets, any ports and a short drain; and *changes*."""
        text = read_manifest("configmap.yaml")["data"]["micronode.toml"]
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
        self.file.write_text(text, "utf-8")

    def start(self) -> Program:
        """Start the node as the image and the manifest say."""
        final = read(PATH.read_text("utf-8"))[1][-1]
        self.assertEqual(final.words("ENTRYPOINT"), [["micronode"]])
        node = Program(
            self,
            *self.unshare,
            "env",
            f"MICRONODE_CONFIG={self.file}",
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
        words = ["nsenter", "--target", str(self.pid), *self.join, "--pid", "--", *command]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.addCleanup(process.wait, PATIENCE_S)
        self.addCleanup(process.kill)
        return process

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
        drained, stopped = (datetime.fromisoformat(states[name]) for name in ("draining", "stopped"))
        self.assertGreaterEqual((stopped - drained).total_seconds(), 3.0)
        self.assertFalse(is_alive(self.pid))
