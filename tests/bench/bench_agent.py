"""What it costs to ask an owner: CPU time of a kept GET of 1 KiB from nginx, and where it goes.

    python -m tests.bench.bench_agent [--before CHECKOUT] [--rounds N] [--gets N] [--profile]

Ways, each in a process of its own, by turns within each round: ``bare`` (a protocol that writes and reads
and looks at nothing: the floor), ``exchange`` (our client), ``call`` (with slot, deadlines and metrics, as
facets call it) and ``twisted`` (Twisted's Agent with its pool). With ``--before`` the same of another
checkout. What counts is the median of the rounds' ratios; the target is at most half of before.

Two shared cores, Python 3.11, Twisted 26.10, nginx 1.22; before is commit 40b5ec0, whose client was Twisted's
HTTPConnectionPool and HTTP11ClientProtocol:
FIGURES
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench.agent_peers import BODY_BYTES

_PEERS: Final = Path(__file__).with_name("agent_peers.py")
_ROOT: Final = _PEERS.parents[2]
_WAYS: Final = ("bare", "exchange", "call", "twisted")
#: Of the ways that another checkout has, too.
_BEFORE: Final = ("exchange", "call")
_CONFIG: Final = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{}}
http {{
    access_log off; keepalive_requests 100000000; default_type application/json;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}
}}
"""
_PATIENCE_S: Final = 10.0


@contextmanager
def nginx() -> Iterator[str]:
    """Run an nginx that answers 1 KiB; yield its URL."""
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is not installed")
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = _CONFIG.format(port=port, body="x" * BODY_BYTES)
        Path(folder, "nginx.conf").write_text(config, "ascii")
        process = subprocess.Popen([program, "-p", folder, "-c", f"{folder}/nginx.conf"])
        try:
            _until_it_listens(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def _until_it_listens(port: int) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


class Peer:
    """One way, in its process."""

    def __init__(self, way: str, url: str, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PEERS), way, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )

    def ask(self, command: str) -> Any:
        """Return its answer to *command*."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("one of the ways has failed")
        return json.loads(answer)

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_PATIENCE_S)


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """Return what *one* costs, in units of *other*: the median over the rounds."""
    return statistics.median(ours / theirs for ours, theirs in zip(times[one], times[other], strict=True))


def main() -> int:
    """Run the bench and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--gets", type=int, default=4000, help="a round")
    parser.add_argument("--profile", action="store_true", help="say where the time goes, too")
    options = parser.parse_args()
    checkouts = {way: (way, _ROOT) for way in _WAYS}
    if options.before is not None:
        checkouts.update({f"{way} before": (way, options.before.resolve()) for way in _BEFORE})
    with ExitStack() as stack:
        url = stack.enter_context(nginx())
        peers = {}
        for name, (way, checkout) in checkouts.items():
            peers[name] = Peer(way, url, checkout)
            stack.callback(peers[name].close)
        times: dict[str, list[float]] = {name: [] for name in peers}
        for peer in peers.values():
            peer.ask(str(options.gets // 4))
        for _ in range(options.rounds):
            for name, peer in peers.items():
                times[name].append(peer.ask(str(options.gets))["cpu"])
        for name, seconds in times.items():
            microseconds = statistics.median(seconds) / options.gets * 1e6
            times_twisted = ratio(times, name, "twisted")
            print(f"{name:16} {microseconds:6.1f} us a GET, {times_twisted:5.2f} of Twisted's Agent")
        if options.before is not None:
            for way in _BEFORE:
                print(f"{way:16} {ratio(times, way, f'{way} before'):5.2f} of before")
        if options.profile:
            for name, peer in peers.items():
                print(name)
                for part, share in peer.ask(f"profile {options.gets}")["shares"].items():
                    print(f"  {share:6.1%}  {part}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
