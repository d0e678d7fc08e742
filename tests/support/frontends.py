"""HAProxy and nginx in front of a node, each as it is by default and once as lenient as it can be; and what
each says it has sent on.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import PATIENCE_S, default_signals, eventually
from tests.support.tools import require_tool

#: The ids of a run's own requests; of any other it counts that there was one.
ID: Final = r"(?:outer|inner|other)-[0-9]{4}"


@attrs.frozen
class Answer:
    """One answer, and whose it says it is."""

    status: int
    request_id: str


def read_answers(data: bytes) -> list[Answer]:
    """Cut what came on one connection into answers; what is not whole, or none, is an AssertionError.

    Interim answers (100) are left out.
    """
    answers: list[Answer] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"half a head: {head[:80]!r}"
        found = re.match(rb"HTTP/1\.[01] ([0-9]{3})", head)
        assert found, f"no answer: {head[:80]!r}"
        status = int(found[1])
        if 100 <= status < 200:
            continue
        fields = dict(re.findall(rb"(?m)^([A-Za-z-]+): ([^\r]*)\r?$", head))
        fields = {name.lower(): value for name, value in fields.items()}
        if b"transfer-encoding" in fields:
            while size := int(data.partition(b"\r\n")[0], 16):
                data = data.partition(b"\r\n")[2][size + 2 :]
            data = data.partition(b"\r\n\r\n")[2]
        elif b"content-length" in fields:
            data = data[int(fields[b"content-length"]) :]
        else:
            data = b""
        answers.append(Answer(status, fields.get(b"x-request-id", b"").decode("latin-1")))
    return answers


def excess(seen: Mapping[str, int], forwarded: Mapping[str, int]) -> dict[str, int]:
    """Return how many requests a node saw more often than a front end forwarded them, by their ids.

    :param seen: how often the node has logged each id; one that it made up itself is in ``""``.
    :param forwarded: how often the front end says it has sent each on; without an id in ``""``.
    """
    more = {each: count - forwarded.get(each, 0) for each, count in seen.items() if each}
    found = {each: count for each, count in more.items() if count > 0}
    # Of a head that it refuses the node knows no id: it is one of those that it has not logged otherwise.
    unheard = sum(count - seen.get(each, 0) for each, count in forwarded.items() if each)
    unknown = seen.get("", 0) - max(0, unheard) - forwarded.get("", 0)
    return found | ({"": unknown} if unknown > 0 else {})


def node_seen(log: str) -> dict[str, int]:
    """Return what the access log of a node says: how often which id, those of runs apart from all others."""
    counts: dict[str, int] = {}
    for line in log.splitlines():
        if '"request_id"' in line:
            said = json.loads(line)["request_id"]
            known = said if re.fullmatch(ID, said) else ""
            counts[known] = counts.get(known, 0) + 1
    return counts


#: Connections to the node are kept and shared by all clients, which is what smuggling needs; nothing is sent
#: twice; whoever waits for the rest of a request is given up soon.
_HAPROXY: Final = """\
global
    log stdout format raw local0
defaults
    mode http
    log global
    log-format "%[capture.req.hdr(0)]|%s|%ST"
    retries 0
    http-reuse always
    timeout connect 5s
    timeout client 1s
    timeout server 5s
    timeout http-request 1s
    timeout http-keep-alive 1s
frontend strict
    bind 127.0.0.1:{strict}
    capture request header X-Request-ID len 64
    default_backend node
frontend lenient
    bind 127.0.0.1:{lenient}
    option accept-invalid-http-request
    capture request header X-Request-ID len 64
    default_backend node
backend node
    option http-keep-alive
    server node {node}
"""
_NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
events {{ worker_connections 512; }}
http {{
    log_format sent '$http_x_request_id|$upstream_addr|$status';
    access_log {folder}/sent.log sent;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 1s;
    lingering_close off;
    upstream node {{ server {node}; keepalive 4; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream off;
    proxy_read_timeout 5s;
    server {{
        listen 127.0.0.1:{strict};
        location / {{ proxy_pass http://node; }}
    }}
    server {{
        listen 127.0.0.1:{lenient};
        ignore_invalid_headers off;
        underscores_in_headers on;
        merge_slashes off;
        large_client_header_buffers 4 32k;
        proxy_request_buffering off;
        location / {{ proxy_pass http://node; }}
    }}
}}
"""


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class FrontEnd:
    """One front end of the node at *node*, listening twice; it ends with the test.

    :ivar ports: where it listens: ``strict`` and ``lenient``.
    """

    def __init__(self, case: SynchronousTestCase, name: str, node: str) -> None:
        """:param name: ``haproxy`` or ``nginx``."""
        program = require_tool(name)
        self.name = name
        self.ports = {"strict": _free_port(), "lenient": _free_port()}
        folder = Path(tempfile.mkdtemp())
        case.addCleanup(shutil.rmtree, folder)
        text = {"haproxy": _HAPROXY, "nginx": _NGINX}[name]
        (folder / "conf").write_text(text.format(node=node, folder=folder, **self.ports))
        self._sent = folder / "sent.log"
        options = {"haproxy": ("-db", "-f"), "nginx": ("-p", str(folder), "-c")}[name]
        # nginx writes the file itself.
        with open(self._sent if name == "haproxy" else folder / "out", "wb") as log:
            process = subprocess.Popen(
                [program, *options, str(folder / "conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if name == "nginx" else subprocess.DEVNULL,
                preexec_fn=default_signals,
            )
        case.addCleanup(process.wait, PATIENCE_S)
        case.addCleanup(process.kill)
        for port in self.ports.values():
            eventually(lambda port=port: _listens(port), lambda: f"{name} does not listen")

    def forwarded(self) -> dict[str, int]:
        """Return how often it has sent which id on to the node so far, by its log."""
        counts: dict[str, int] = {}
        for line in self._sent.read_text("latin-1").splitlines():
            said, bar, rest = line.rpartition("|")[0].rpartition("|")
            # Where it sent nothing, nginx names no address and HAProxy no server.
            if bar and rest not in ("-", "<NOSRV>"):
                known = said if re.fullmatch(ID, said) else ""
                counts[known] = counts.get(known, 0) + 1 + rest.count(",")
        return counts


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
