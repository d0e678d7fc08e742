"""An object that only a peer has, through both doors; and what comes of an overlay that is of no use."""

from __future__ import annotations

import json
import socket
import tempfile
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from shutil import rmtree

from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import OWNER_NAMES
from tests.cli.processes import PATIENCE_S, Program, ask, ask_json, eventually, run_python

BODY = b"only a peer has this\n" * 5_000
HEX = blake3(BODY).hexdigest()
CID = f"b3:{HEX}"


class OverlayTests(SynchronousTestCase):
    """Two owner processes: the node's storage is empty, its overlay's peer is the storage of the other."""

    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(rmtree, self.folder)
        (Path(self.folder) / "corpus").mkdir()
        (Path(self.folder) / "corpus" / "hello.md").write_text("# Hello\n")

    def owners(self, name: str, *words: str) -> None:
        """Start owners whose sockets are below *name*."""
        (Path(self.folder) / name).mkdir(mode=0o700)
        where = [f"--{each}=unix:{self.at(name, each)}" for each in OWNER_NAMES]
        owners = Program(self, "owners", *where, "--corpus", f"{self.folder}/corpus", *words)
        owners.until_complaint('"ready"')

    def at(self, name: str, owner: str) -> str:
        return f"{self.folder}/{name}/{owner}"

    def ask_owner(self, path: str, method: str, target: str, body: bytes = b"") -> int:
        """Make one request of the owner at the socket *path*; return the status."""
        connection = HTTPConnection("owner", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.sock.connect(path)
        connection.request(method, target, body)
        return connection.getresponse().status

    def start(self, *faults: str) -> None:
        """Start owners with an empty storage, and others with the one that has the object; and a node."""
        self.owners("far")
        self.assertEqual(self.ask_owner(self.at("far", "storage"), "POST", "/o", BODY), 201)
        self.owners("near", "--peer", f"unix:{self.at('far', 'storage')}", *faults)
        self.run_node()

    def run_node(self, *settings: str) -> None:
        sets = [f"owners.{name}.url=unix:{self.at('near', name)}" for name in ("index", "mailbox", "storage")]
        sets += [f"owners.overlay.url=unix:{self.at('near', 'overlay')}", "facets.media.enabled=true"]
        sets += ["drain.grace=0s", *settings]
        words = ["--admin", "127.0.0.1:0", "--oap", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        self.node = Program(self, "run", *words, *(word for each in sets for word in ("--set", each)))
        self.oap, self.http, self.admin = (
            self.node.until_complaint(rf'"listener":"{name}","address":"([^"]+)"')[1]
            for name in ("oap", "http", "admin")
        )
        self.node.until_complaint('"running"')

    def media(self, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        host, _, port = self.http.partition(":")
        connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/app/media/{CID}", headers=fields)
        response = connection.getresponse()
        return response.status, {n.lower(): v for n, v in response.getheaders()}, response.read()

    def call(self, op: str, **args: str) -> tuple[int, str, str]:
        """Call over OAP/1; return the exit status, what was printed, and what was complained of."""
        words = ["call", f"oap://{self.oap}", "media", op, "--args", json.dumps({"cid": CID, **args})]
        done = run_python("-m", "micronode", *words)
        return done.returncode, done.stdout, done.stderr

    def metric(self, owner: str, outcome: str) -> float:
        _, _, body = ask(f"http://{self.admin}/metrics")
        wanted = f'owner_requests_total{{outcome="{outcome}",owner="{owner}"}} '
        return sum(float(line.split()[-1]) for line in body.decode().splitlines() if line.startswith(wanted))

    def test_an_object_that_only_a_peer_has(self) -> None:
        self.start()
        eventually(lambda: ask_json(f"http://{self.admin}/readyz")["deps"]["overlay"] == "ok")
        status, fields, body = self.media()
        self.assertEqual((status, body), (200, BODY))
        self.assertEqual((fields["etag"], fields["x-micronode-verified"]), (f'"{HEX}"', "true"))
        status, fields, body = self.media("HEAD")
        self.assertEqual((status, fields["content-length"], body), (200, str(len(BODY)), b""))
        status, fields, body = self.media(Range="bytes=5-8")
        self.assertEqual((status, body, fields["content-range"]), (206, b"a pe", f"bytes 5-8/{len(BODY)}"))
        self.assertEqual(fields["x-micronode-verified"], "false")
        self.assertEqual(self.media(Range="bytes=9999999-")[0], 416)
        self.assertEqual(self.media(If_None_Match=f'"{HEX}"')[0], 304)
        self.assertEqual(self.call("get"), (0, BODY.decode(), ""))
        self.assertEqual(self.call("get", range="bytes=5-8")[:2], (0, "a pe"))
        self.assertEqual(self.metric("storage", "ok"), 0)
        self.assertEqual(self.metric("storage", "client_error"), 7)
        self.assertEqual(self.metric("overlay", "ok") + self.metric("overlay", "client_error"), 7)
        status = self.ask_owner(self.at("near", "storage"), "HEAD", f"/o/{CID}")
        self.assertEqual(status, 404, "nothing was put there")

    def refused(self, status: int, code: str) -> None:
        """Both doors say the same of it."""
        answered, _, body = self.media()
        self.assertEqual((answered, json.loads(body)["code"]), (status, code))
        exit_status, printed, complained = self.call("get")
        self.assertEqual((exit_status, printed), (1, ""))
        self.assertIn(code, complained)

    def test_an_overlay_that_is_down(self) -> None:
        """That there is no such object is more than anybody knows."""
        self.start("--fault", "overlay=refuse")
        self.refused(503, "owner_unavailable")
        self.assertEqual(ask(f"http://{self.admin}/readyz")[0], 200)

    def test_an_overlay_that_fails(self) -> None:
        self.start("--fault", "overlay=500")
        self.refused(502, "bad_gateway")

    def test_bytes_of_another_object(self) -> None:
        """Of a long one no door lets the last of them out."""
        self.start("--fault", "overlay=wrong-digest")
        host, _, port = self.http.partition(":")
        connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        connection.request("GET", f"/app/media/{CID}")
        try:
            connection.getresponse().read()
        except (IncompleteRead, ConnectionResetError):
            pass
        else:
            self.fail("a whole body came")
        exit_status, printed, complained = self.call("get")
        self.assertEqual(exit_status, 1)
        self.assertLess(len(printed), len(BODY))
        self.assertIn("integrity_failed", complained)
