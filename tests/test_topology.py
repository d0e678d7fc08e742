"""The live topology is whole: nothing that bounds work, holds it or waits is missing from it."""

from __future__ import annotations

import ast
import contextlib
import gc
import json
import types
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from docutils.core import publish_doctree
from twisted.application.service import MultiService
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from micronode import Config, make_node
from micronode.adapters.permits import Permits
from micronode.adapters.pool import ConnectionPool
from micronode.concurrency.alarms import Alarms
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.connections import Connections
from micronode.concurrency.hangup import Intake
from micronode.concurrency.memory import Buffers
from micronode.concurrency.overload import Overload
from micronode.concurrency.rates import Rates
from micronode.concurrency.registry import Figure, Kind, Part, Topology
from micronode.concurrency.shedlog import ShedLog
from micronode.concurrency.stall import StallWatch
from micronode.concurrency.timeouts import Timeouts
from micronode.concurrency.timer import LazyTimer
from micronode.config.schema import KEYS
from micronode.config.table import own_rows
from micronode.facets.polls import Polls
from micronode.node import NodeService
from micronode.observability.repeating import Repeater
from tests.http.support import get
from tests.support.concurrency_page import PAGE, page
from tests.test_layering import module_files
from tests.test_node import ListeningReactor, NodeCase

#: Whoever calls one of these makes something that holds back, bounds or waits.
MAKERS: Final = frozenset(
    (
        *("callLater", "deferLater", "addTimeout", "LoopingCall", "deque", "DeferredQueue"),
        *("DeferredSemaphore", "Gate", "Permits", "LazyTimer", "Timeouts", "StallWatch", "Intake"),
        *("Alarms", "Rates", "Buffers", "Connections", "Overload", "ShedLog", "Spread", "Acceptor"),
        *(
            "bytearray",
            "Collector",
            "Deadline",
            "Backlog",
            "Stock",
            "ConnectionPool",
            "Polls",
            "Decider",
            "Repeater",
        ),
    )
)
#: And so does a class that says that it is one.
PRODUCERS: Final = frozenset(("IPushProducer", "IPullProducer"))
#: What is no part of a node, and why.
NO_PART: Final = {
    "observability.writer": "the log's queue is the process's, and is bounded there",
    "assembly": "what it makes is registered under the modules that it is of",
    "adapters.agent": "its pool is of adapters.pool",
    "draining": "its spreads are of concurrency.spread",
    "sickness": "its overload is of concurrency.overload",
    "adapters.policy": "its decider is of security.decider",
}
#: Other programs, or the other end of the wire.
NOT_OURS: Final = ("cli", "devowners", "oap.client", "__main__")
#: Of these no object that a node keeps may be missing.
TRACKED: Final = (
    *(Gate, Permits, Polls, Timeouts, Repeater, LoopingCall, ConnectionPool),
    *(LazyTimer, StallWatch, Intake, deque, Alarms, Rates, Buffers, Connections, Overload, ShedLog),
)


def made_in(tree: ast.AST) -> Iterator[str]:
    """Yield what of :data:`MAKERS` and :data:`PRODUCERS` *tree* has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = getattr(function, "id", None) or getattr(function, "attr", "")
            if name in MAKERS:
                yield name
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call):
                    yield from (each.id for each in decorator.args if getattr(each, "id", "") in PRODUCERS)


def node_of(**sections: Any) -> NodeService:
    return make_node(Config.from_mapping(sections), ListeningReactor())


def kept_by(root: object, *, fence: tuple[type, ...] = ()) -> Iterator[object]:
    """Yield every object of :data:`TRACKED` that *root* keeps, each once; none that only a *fence* keeps."""
    seen, todo = {id(root)}, [root]
    while todo:
        each = todo.pop()
        if isinstance(each, TRACKED):
            yield each
        for other in _held(each):
            # Code is shared by all nodes of the process, and what it keeps is nobody's.
            if id(other) not in seen and not isinstance(other, (type, types.ModuleType, *fence)):
                seen.add(id(other))
                todo.append(other)


def _held(holder: object) -> Iterator[object]:
    """Yield what *holder* refers to; of a function only what it closes over, not the module it is of."""
    if not isinstance(holder, types.FunctionType):
        yield from gc.get_referents(holder)
        return
    for cell in holder.__closure__ or ():
        with contextlib.suppress(ValueError):
            yield cell.cell_contents


class CompletenessTests(NodeCase):
    def owners(self) -> set[str]:
        return {module for part in self.node().topology for module in (part.owner, *part.also)}

    def test_every_module_that_makes_one_answers_for_it(self) -> None:
        owners = self.owners()
        missing = {}
        for module, path in module_files().items():
            if module in NO_PART or module.startswith(NOT_OURS):
                continue
            made = sorted(set(made_in(ast.parse(path.read_text("utf-8")))))
            if made and module not in owners:
                missing[module] = made
        self.assertEqual(missing, {}, "register what they make in micronode/topology")

    def test_the_look_sees_what_it_should(self) -> None:
        source = (
            "@implementer(IPushProducer)\nclass A:\n    def go(self):\n        self.clock.callLater(1, x)\n"
        )
        self.assertEqual(
            sorted(made_in(ast.parse(source + "q = deque()\n"))), ["IPushProducer", "callLater", "deque"]
        )

    def test_every_owner_is_a_module(self) -> None:
        self.assertEqual(self.owners() - set(module_files()), set())

    def test_every_object_that_a_node_keeps_is_registered(self) -> None:
        node = self.started(node={"profile": "dev"}, owners={"policy": {"url": "http://127.0.0.1:1"}})
        self.assertEqual(self.unregistered(node), [])

    def test_so_it_is_after_a_reload(self) -> None:
        node = self.started()
        more = Config.from_mapping({"facets": {"search": {"limit": 3, "timeout": "1s"}}})
        self.successResultOf(node.reload(more))
        self.assertEqual(self.unregistered(node), [])
        figure = next(each for each in node.topology["calls"].figures() if each.of == "search")
        self.assertEqual(figure.bound, 3)

    def test_one_that_is_not_registered_is_found(self) -> None:
        node = self.node()
        node.forgotten = Gate(1)  # type: ignore[attr-defined]
        self.assertEqual(len(self.unregistered(node)), 1)

    def unregistered(self, node: NodeService) -> list[object]:
        """Return what *node* keeps that is neither in a figure nor kept by what is."""
        known = [each for part in node.topology for figure in part.figures() for each in figure.objects]
        # A part that is a service knows its parent, and so would keep the whole node.
        fence = (MultiService, ListeningReactor)
        within = {id(each) for top in known for each in (top, *kept_by(top, fence=fence))}
        return [each for each in kept_by(node) if id(each) not in within]


class PartTests(NodeCase):
    def test_names_are_unique(self) -> None:
        topology = Topology()
        part = Part(name="a", kind=Kind.GATE, owner="bus", unit="x", bound_by="", then="")
        topology.register(part)
        self.assertRaises(ValueError, topology.register, part)
        self.assertIs(topology["a"], part)

    def test_keys_exist(self) -> None:
        known = {_generic(path) for path in KEYS} | set(KEYS)
        known |= {f"facets.NAME.{row.name}" for row in own_rows("NAME")}
        for part in self.node().topology:
            self.assertLessEqual(set(part.keys), known, part.name)

    def test_says_what_it_is(self) -> None:
        for part in self.node().topology:
            for text in (part.unit, part.bound_by, part.then):
                self.assertTrue(text.strip(), part.name)
            self.assertRegex(part.then, r"[.)]$", part.name)

    def test_status_shows_it_as_it_is_now(self) -> None:
        node = self.started()
        caller, _ = self.connect(5310)
        caller.dataReceived(get("/app/search?q=x"))
        shown = {each["name"]: each for each in json.loads(json.dumps(node.status.as_dict()))["topology"]}
        search = {"of": "search", "now": 1, "bound": 96}
        self.assertIn(search, shown["calls"]["figures"])
        self.assertIn({"of": "http", "now": 1, "bound": 1024}, shown["connections"]["figures"])
        self.assertEqual([each["now"] for each in shown["calls.timeouts"]["figures"]], [1])
        self.assertEqual(set(shown["calls"]), {"name", "kind", "owner", "unit", "keys", "figures"})

    def test_nothing_is_read_before_somebody_looks(self) -> None:
        def read() -> list[Figure]:
            raise AssertionError("read")

        topology = Topology()
        topology.register(
            Part(name="a", kind=Kind.GATE, owner="bus", unit="x", bound_by="", then="", figures=read)
        )
        self.assertRaises(AssertionError, topology.as_list)


class PageTests(SynchronousTestCase):
    def test_is_not_stale(self) -> None:
        self.assertEqual(
            PAGE.read_text("utf-8"), page(), "run python -m tests.support.concurrency_page after a change"
        )

    def test_names_every_part(self) -> None:
        text = page()
        for part in node_of().topology:
            self.assertIn(f"``{part.name}``", text)

    def test_is_valid_markup(self) -> None:
        publish_doctree(page(), settings_overrides={"halt_level": 2, "report_level": 5})


def _generic(path: str) -> str:
    section, _, rest = path.partition(".")
    if section in ("facets", "owners"):
        return f"{section}.NAME.{rest.partition('.')[2]}"
    return path
