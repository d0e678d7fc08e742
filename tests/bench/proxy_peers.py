"""Whom ``tests.bench.bench_proxy`` and ``bench_streaming`` measure a node by, each a process of its own.

An owner of nginx; and before it nginx's ``proxy_pass``, aiohttp over uvloop, plain Twisted, and nodes of this
checkout or another. All that stand before it are pinned to one processor, one worker each; the owner is
pinned to the other, with the callers.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BODY_BYTES: Final = 1024
#: A JSON object of that size.
BODY: Final = '{{"key":"name:bench","value":"{}"}}'.format("x" * (BODY_BYTES - 31))
_ROOT: Final = Path(__file__).resolve().parents[2]
_PATIENCE_S: Final = 20.0
#: The processors, where there are two.
SERVER_CPU: Final = 0
CALLERS_CPU: Final = 1
_NGINX: Final = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    {inner}
}}
"""
_OWNER: Final = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location /o/ {{ default_type application/octet-stream; root {folder}; }}
        location / {{ default_type application/json; return 200 '{body}'; }}
    }}
"""
_PROXY: Final = """
    upstream owner {{ server {owner}; keepalive 512; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://owner; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
        }}
    }}
"""
#: A listener that is ready, in the log.
_READY: Final = re.compile(r'"event":"listening","listener":"(\w+)","address":"([^"]+)"')


class Server:
    """A process that serves.

    :ivar ports: by door: ``http``, and of a node ``oap``.
    """

    def __init__(self, process: subprocess.Popen[bytes], ports: Mapping[str, int]) -> None:
        self.pid = process.pid
        self.ports = ports

    def cpu_s(self) -> float:
        """Return the CPU seconds that it has taken so far."""
        stats = [
            path.read_text("ascii").split()[0] for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        ]
        return sum(map(int, stats)) / 1e9

    def rss_mib(self) -> float:
        """Return its resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def pinned(cpu: int, command: list[str]) -> list[str]:
    """Return *command* so that it keeps to *cpu*, where there is more than one."""
    return ["taskset", "-c", str(cpu), *command] if (os.cpu_count() or 1) > 1 else command


@contextmanager
def _running(command: list[str], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.02)


@contextmanager
def _nginx(cpu: int, inner: str, **values: object) -> Iterator[Server]:
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is not installed")
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        # Its worker has the rights of another user.
        Path(folder).chmod(0o755)
        text = _NGINX.format(inner=inner.format(port=port, **values))
        Path(folder, "nginx.conf").write_text(text, "ascii")
        command = pinned(cpu, [program, "-p", folder, "-c", f"{folder}/nginx.conf"])
        with _running(command) as process:
            _until_it_listens(port, process)
            yield Server(process, {"http": port})


@contextmanager
def owner(objects: Path | None = None) -> Iterator[str]:
    """Run the owner: 1 KiB of JSON for whatever is asked, and files below ``/o/``; yield its URL.

    :param objects: a folder with a folder ``o``.
    """
    with _nginx(CALLERS_CPU, _OWNER, body=BODY, folder=objects or "/nonexistent") as server:
        yield f"http://127.0.0.1:{server.ports['http']}"


@contextmanager
def nginx_proxy(url: str) -> Iterator[Server]:
    """Run nginx before the owner at *url*."""
    with _nginx(SERVER_CPU, _PROXY, owner=url.removeprefix("http://")) as server:
        yield server


@contextmanager
def aiohttp_proxy(url: str, kind: str = "bare") -> Iterator[Server]:
    """Run aiohttp before the owner at *url*, what it logs in a file.

    :param kind: ``bare`` or ``usual``; see there.
    """
    port = _free_port()
    program = str(Path(__file__).with_name("aiohttp_proxy.py"))
    command = pinned(SERVER_CPU, [sys.executable, program, url, str(port), kind])
    with tempfile.TemporaryFile() as log, _running(command, stderr=log) as process:
        _until_it_listens(port, process)
        yield Server(process, {"http": port})


@contextmanager
def twisted_proxy(url: str, kind: str) -> Iterator[Server]:
    """Run Twisted before the owner at *url*.

    :param kind: ``naive`` or ``bare``; see there.
    """
    port = _free_port()
    program = str(Path(__file__).with_name("twisted_proxy.py"))
    command = pinned(SERVER_CPU, [sys.executable, program, url, str(port), kind])
    # A traceback for each call that the callers leave behind when their turn is over.
    with _running(command, stderr=subprocess.DEVNULL) as process:
        _until_it_listens(port, process)
        yield Server(process, {"http": port, "oap": port})


@contextmanager
def node(url: str, checkout: Path = _ROOT, *settings: str) -> Iterator[Server]:
    """Run a node of *checkout* before the owner at *url*, with its access log, as JSON, in a file.

    :param settings: further ``KEY=VALUE`` of its configuration.
    """
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "micronode", "run"]
        for setting in (
            f"owners.index.url={url}",
            f"owners.storage.url={url}",
            "owners.index.concurrency=512",
            "facets.graph.limit=512",
            "facets.media.enabled=true",
            "drain.grace=0s",
            "log.format=json",
            *(f"{section}.listen=127.0.0.1:0" for section in ("http", "oap", "admin")),
            *settings,
        ):
            command += ["--set", setting]
        options = {"cwd": checkout, "env": {**os.environ, "PYTHONPATH": str(checkout)}, "stderr": log}
        with _running(pinned(SERVER_CPU, command), stdout=log, **options) as process:
            yield Server(process, _ports(process, log.fileno()))


def _ports(process: subprocess.Popen[bytes], log: int) -> dict[str, int]:
    end = time.monotonic() + _PATIENCE_S
    while True:
        text = os.pread(log, 1 << 16, 0).decode("utf-8", "replace")
        found = {name: int(address.rpartition(":")[2]) for name, address in _READY.findall(text)}
        if {"http", "oap"} <= found.keys():
            return found
        if time.monotonic() > end or process.poll() is not None:
            raise SystemExit(f"the node does not listen:\n{text}")
        time.sleep(0.02)
