"""A program of your own around a node that is configured like ``micronode run``: file, variables, settings.

Run it::

    .venv/bin/python docs/examples/embedded.py conf/micronode.toml drain.grace=0s

What it shows: ``load`` reads and merges all sources, and refuses them in lines that name file and line,
variable or setting; ``make_node`` is given the same reading for later, so that SIGHUP reloads; ``node.bus``
tells what happens; SIGTERM drains. Signals, output and the reactor are this program's: the node touches none.
"""

import contextlib
import os
import signal
import sys

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import deferToThread

from micronode import make_node
from micronode.bus import ConfigUpdated, ReloadEnded, StateChanged
from micronode.concurrency.listening import ListenError
from micronode.config.problems import ConfigError
from micronode.config.sources import Flag, load


def reader(words):
    """Return what reads the configuration: *words* are settings ``section.key=value``, and perhaps a file."""
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        sys.exit(f"{files[0]} and {files[1]}: name one file; it may include others")
    file = files[0] if files else None
    flags = []
    for word in words:
        path, equals, text = word.partition("=")
        if equals:
            flags.append(Flag(path, text, f"flag {path}"))

    def read(*, again=False):
        # Files and variables are looked at anew each time; what was typed stays.
        return load(flags=flags, environ=os.environ, path=file, to_run=True, again=again)

    return read


async def tell(node):
    """Print what happens, and end the program with its node: an operator may drain it, too."""
    async for event in node.bus.subscribe():
        if isinstance(event, StateChanged):
            print(event.state, flush=True)
        elif isinstance(event, ConfigUpdated):
            print(f"another configuration: {', '.join(event.changed)}", flush=True)
        elif isinstance(event, ReloadEnded):
            print(f"reload {event.outcome}{event.reason and ': '}{event.reason}", flush=True)
            if node.reloader.restart_required:
                print(f"after a restart: {', '.join(node.reloader.restart_required)}", flush=True)
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def main(words):
    """Run until a signal comes; return the exit code."""
    read = reader(words)
    try:
        loaded = read()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 78
    # In a thread: a disk may be slow, and the node goes on serving meanwhile.
    node = make_node(loaded.config, reactor, read=lambda: deferToThread(read, again=True))
    Deferred.fromCoroutine(tell(node))
    # Before anybody is told that it runs; by default it would end the program.
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(node.reload))
    try:
        node.startService()
    except ListenError as error:
        print(error, file=sys.stderr)
        return 69
    for name, address in node.addresses.items():
        print(f"{name} {address}", flush=True)
    # SIGTERM and SIGINT stop the reactor, which waits for what this returns.
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    reactor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
