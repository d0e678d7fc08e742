"""Real HTTP servers as owners: each a process of its own on a free port of 127.0.0.1, with the same pages.

``/small`` is 1 KiB, ``/large`` 1 MiB, ``/empty`` 204, ``/echo`` (POST) what was sent; ``/chunked`` and
``/close`` are ``/small`` in chunks, and as long as the connection lasts, unless a proxy frames it anew.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.tools import require_tool

PATIENCE_S = 15.0
SMALL = b"0123456789abcde\n" * 64
LARGE = SMALL * 1024

_NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi; keepalive_timeout {keep}; client_max_body_size 64k;
    server {{
        listen 127.0.0.1:{port};
        root {folder}; default_type text/plain;
        location = /empty {{ return 204; }}
        location ~ ^/(chunked|close|echo)$ {{
            proxy_pass http://127.0.0.1:{behind}; proxy_http_version 1.1;
        }}
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 5s
frontend owner
    bind 127.0.0.1:{port}
    default_backend behind
backend behind
    server one 127.0.0.1:{behind}
"""
_STDLIB = """
import http.server, sys
SMALL = b"0123456789abcde\\n" * 64
PAGES = {"/small": SMALL, "/large": SMALL * 1024}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = sys.argv[2]
    def log_message(self, *words): pass
    def do_GET(self):
        body = PAGES.get(self.path.partition("?")[0])
        if self.path == "/empty":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(SMALL), 100):
                piece = SMALL[at : at + 100]
                self.wfile.write(b"%x;piece\\r\\n%b\\r\\n" % (len(piece), piece))
            self.wfile.write(b"0\\r\\nX-Sum: none\\r\\n\\r\\n")
        elif self.path == "/close":
            self.close_connection = True
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SMALL)
        elif body is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
    do_HEAD = do_GET
    def do_POST(self):
        if self.headers["Transfer-Encoding"]:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
_AIOHTTP = """
import sys
from aiohttp import web
SMALL = b"0123456789abcde\\n" * 64
PAGES = {"/small": SMALL, "/large": SMALL * 1024}
async def page(request):
    return web.Response(body=PAGES[request.path])
async def empty(request):
    return web.Response(status=204)
async def chunked(request):
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    for at in range(0, len(SMALL), 100):
        await response.write(SMALL[at : at + 100])
    await response.write_eof()
    return response
async def close(request):
    response = web.StreamResponse(headers={"Connection": "close"})
    response.force_close()
    await response.prepare(request)
    await response.write(SMALL)
    await response.write_eof()
    return response
async def echo(request):
    return web.Response(status=201, body=await request.read())
app = web.Application(client_max_size=1 << 16)
for path in PAGES:
    app.router.add_get(path, page)
app.router.add_get("/empty", empty)
app.router.add_get("/chunked", chunked)
app.router.add_get("/close", close)
app.router.add_post("/echo", echo)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, keepalive_timeout=float(sys.argv[2]))
"""


def free_port() -> int:
    """Return a port that nothing listens at, a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


class Servers:
    """Starts servers, and ends them all by :meth:`close`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._processes: list[subprocess.Popen[bytes]] = []

    def nginx(self, keep: str = "75s") -> int:
        """Start nginx, with http.server behind it for what it cannot do; return its port."""
        program, port, folder = require_tool("nginx"), free_port(), self._folder / "nginx"
        folder.mkdir()
        (folder / "small").write_bytes(SMALL)
        (folder / "large").write_bytes(LARGE)
        config = _NGINX.format(port=port, keep=keep, folder=folder, behind=self.stdlib())
        (folder / "nginx.conf").write_text(config, "ascii")
        return self._start(port, program, "-p", str(folder), "-c", str(folder / "nginx.conf"))

    def haproxy(self) -> int:
        """Start HAProxy, with http.server behind it; return its port."""
        program, port = require_tool("haproxy"), free_port()
        config = self._folder / "haproxy.cfg"
        config.write_text(_HAPROXY.format(port=port, behind=self.stdlib()), "ascii")
        return self._start(port, program, "-db", "-q", "-f", str(config))

    def stdlib(self, protocol: str = "HTTP/1.1") -> int:
        """Start Python's http.server; return its port."""
        port = free_port()
        return self._start(port, sys.executable, "-c", _STDLIB, str(port), protocol)

    def aiohttp(self, keep_s: float = 75.0) -> int:
        """Start aiohttp's server; return its port."""
        port = free_port()
        return self._start(port, sys.executable, "-c", _AIOHTTP, str(port), str(keep_s))

    def close(self) -> None:
        """End them, and remove what they had."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(PATIENCE_S)
        shutil.rmtree(self._folder)

    def _start(self, port: int, *argv: str) -> int:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._processes.append(process)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
                return port
            except OSError:
                assert process.poll() is None, f"{argv[0]} did not start"
                assert time.monotonic() < end, f"{argv[0]} does not listen"
                time.sleep(0.02)
