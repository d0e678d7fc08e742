"""``micronode dev``: the node on the dev profile, with reference owner services as its child.

The node is this process; the owners are started first, asked whether they are ready, and ended last,
however the node ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import deferLater
from twisted.python import usage
from twisted.web.client import Agent, PartialDownloadError, ResponseFailed, readBody

from micronode import __version__
from micronode.cli import polling
from micronode.cli.exits import CommandError, Exit
from micronode.cli.hints import hints
from micronode.cli.options import NodeOptions, OptParameters
from micronode.cli.ownerchild import OwnersChild
from micronode.cli.reloading import follow, reader, reload_node
from micronode.cli.run import begin_logging, build_node, start_node, stop_node
from micronode.cli.runner import Runner
from micronode.cli.streams import show
from micronode.cli.supervisor import Supervisor
from micronode.config.schema import BUILT_OWNERS, Config
from micronode.config.sources import Flag, Loaded

if TYPE_CHECKING:
    from micronode.node import NodeService
    from micronode.observability.logging import LineObserver

#: A folder to index may be large; a child that hangs is still noticed.
_LOAD_S: Final = 120.0
#: From the report to both /readyz, and the pause between two looks.
_READY_S: Final = 10.0
_LOOK_S: Final = 0.05
#: Options of ours that are the owners'.
_FOR_OWNERS: Final = ("corpus", "data", "rules", "fault")


class DevOptions(NodeOptions):
    """Options of the node, and those of its owners."""

    command = "micronode dev [options]"
    longdesc = (
        "Run the node with reference owner services to try it out: on loopback, open to every local caller, "
        "with the facets graph, search, feed and media. Takes the options of micronode run."
    )
    optParameters: OptParameters = (
        ("corpus", None, None, "Folder to index instead of the Python environment's packages."),
        ("data", None, None, "Folder in which the owner services keep their data (default: in memory)."),
        ("rules", None, None, "File of the policy owner's rules (default: everything is allowed)."),
        (
            "fault",
            None,
            None,
            "What goes wrong at the owner services, as in storage=stall:2s@0.1,index=500@0.2.",
        ),
    )

    def postOptions(self) -> None:
        if any(flag.path == "node.profile" and flag.text != "dev" for flag in self.flags):
            raise usage.UsageError("micronode dev brings its own profile; use micronode run")
        self.flags.append(Flag("node.profile", "dev", "profile dev"))

    def for_owners(self) -> list[str]:
        """Return the arguments that are passed on to the owners."""
        return [word for name in _FOR_OWNERS if self[name] for word in (f"--{name}", self[name])]


def main(argv: Sequence[str]) -> int:
    """Run node and owners until a signal comes.

    :return: 0 after a stop in order; 1 when the owners died.
    :raises CommandError: usage, configuration.
    """
    options = DevOptions()
    options.parse(argv)
    loaded = options.load()
    polling.install()
    from twisted.internet import reactor

    observer = begin_logging(loaded, reactor)
    return _Dev(reactor, loaded.config, options, observer).run()


class _Dev:
    """Node and owners, from start to end."""

    def __init__(self, reactor: Any, config: Config, options: DevOptions, observer: LineObserver) -> None:
        self._reactor = reactor
        self._config = config
        self._options = options
        self._observer = observer
        self._urls: Mapping[str, str] = {}
        # Before there are children to inherit what is meant for this process.
        self._supervisor = Supervisor.take(config)
        self._supervisor.begin(reactor)
        self._owners = OwnersChild(reactor, self._owners_lost)
        self._node: NodeService | None = None
        self._runner = Runner(
            reactor,
            start=self._start,
            stop=self._stop,
            hurry=self._hurry,
            reload=lambda: reload_node(self._node),
        )

    def run(self) -> int:
        return self._runner.run()

    async def _start(self) -> None:
        emit(f"micronode {__version__} dev: starting the owner services")
        self._urls = urls = await self._owners.spawn(self._options.for_owners()).addTimeout(
            _LOAD_S, self._reactor, onTimeoutCancel=_never_loaded
        )
        look = _looker(self._reactor)
        for name, url in urls.items():
            await until_ready(self._reactor, name, url, look)
        config = with_owners(self._config, urls)
        self._node = build_node(
            config, self._reactor, reader(self._reactor, self._load_again), self._supervisor.sockets
        )
        self._supervisor.follow(self._node)
        follow(self._node, self._reactor, self._observer, self._runner.drained)
        start_node(self._node)
        facets = [name for name, facet in config.facets.items() if facet.enabled]
        known = {name: owner.url[0] for name, owner in config.owners.items() if owner.url}
        unused = {name: url for name, url in urls.items() if name not in known}
        own_corpus = self._options["corpus"] is not None
        for line in hints(self._node.addresses, known, facets, unused=unused, own_corpus=own_corpus):
            emit(line)

    def _load_again(self) -> Loaded:
        loaded = self._options.load_again()
        return attrs.evolve(loaded, config=with_owners(loaded.config, self._urls))

    async def _stop(self) -> None:
        try:
            if self._node is not None:
                await stop_node(self._node)
        finally:
            await self._owners.stop()

    def _hurry(self) -> None:
        if self._node is not None:
            self._node.hurry()
        self._owners.kill()

    def _owners_lost(self, how: str) -> None:
        self._runner.finish(Exit.FAILED, f"the owner services {how}; stopping the node")


async def until_ready(reactor: Any, name: str, url: str, look: Callable[[bytes], Awaitable[bool]]) -> None:
    """Return when the owner *name* at *url* says it is ready.

    :param look: asks a URL whether it answers 200.
    :raises CommandError: it does not within ten seconds.
    """
    deadline = reactor.seconds() + _READY_S
    while not await look(f"{url}/readyz".encode("ascii")):
        if reactor.seconds() >= deadline:
            message = f"the owner service {name} at {url} did not become ready in {_READY_S:g} s"
            raise CommandError(Exit.UNAVAILABLE, message)
        await deferLater(reactor, _LOOK_S)


def _looker(reactor: Any) -> Callable[[bytes], Awaitable[bool]]:
    agent = Agent(reactor, connectTimeout=_READY_S)

    async def look(url: bytes) -> bool:
        try:
            response = await agent.request(b"GET", url)
            await readBody(response)
        except (ConnectError, ConnectionClosed, ResponseFailed, PartialDownloadError):
            return False
        return bool(response.code == 200)

    return look


def _never_loaded(result: Any, timeout: float) -> Any:
    raise CommandError(Exit.UNAVAILABLE, f"the owner services were not ready after {timeout:g} s")


def with_owners(config: Config, urls: Mapping[str, str]) -> Config:
    """Return *config* with the owners at *urls*, except those whose URL the user has set.

    Owners that the node has no use for yet are left out.
    """
    unset = {
        name: url
        for name, url in urls.items()
        if name in BUILT_OWNERS and f"owners.{name}.url" not in config.sources
    }
    owners = {name: attrs.evolve(config.owners[name], url=(url,)) for name, url in unset.items()}
    sources = {f"owners.{name}.url": "profile dev" for name in unset}
    return attrs.evolve(config, owners={**config.owners, **owners}, sources={**config.sources, **sources})


def emit(line: str) -> None:
    """Print one line now, also into a pipe; a reader that has gone is no reason to stop serving."""
    with contextlib.suppress(CommandError):
        show(line)
