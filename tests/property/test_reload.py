"""Any history of reloads, good and bad, under load: what is in force is the last good one, and no permit is
lost or gained.

Run by pytest. The examples are the same in every run.
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from micronode import Config, make_node
from micronode.bus import ReloadEnded, ReloadStarted
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import KEYS
from micronode.config.sources import Loaded
from tests.http.support import Wire, get
from tests.test_node import ListeningReactor

CID = "b3:" + "0" * 64
ASKED = {
    "search": get("/app/search?q=x"),
    "graph": get("/app/graph/neighbors/klein"),
    "media": get(f"/app/media/{CID}"),
}
OWNER_OF = {"search": "index", "graph": "index", "media": "storage"}
CALLED = sorted(set(OWNER_OF.values()))

#: What a reload may set: a few values each, so that they come back.
LIVE: dict[str, list[Any]] = {
    **{f"facets.{name}.enabled": [True, False] for name in ASKED},
    **{f"facets.{name}.limit": [1, 2, 5] for name in ASKED},
    **{f"facets.{name}.timeout": [1.0, 5.0] for name in ASKED},
    **{f"owners.{name}.concurrency": [1, 3, 64] for name in CALLED},
    **{
        f"owners.{name}.url": [
            ["http://10.0.0.1"],
            ["http://10.0.0.2"],
            ["http://10.0.0.2", "http://10.0.0.1"],
        ]
        for name in CALLED
    },
    "limits.max_inflight": [2, 64],
    "timeouts.idle": [7.0, 60.0],
    "drain.grace": [0.0, 10.0],
}
RESTART: dict[str, list[Any]] = {
    "http.listen": ["127.0.0.1:5310", "127.0.0.1:7000"],
    "log.format": ["auto", "json"],
    "amnesia.enabled": [True, False],
}
settings_of = {path: st.sampled_from(values) for path, values in (LIVE | RESTART).items()}
wanted = st.fixed_dictionaries({}, optional=settings_of)


def make(values: dict[str, Any], source: str) -> Config:
    """Return the configuration of canonical *values*."""
    canonical = {path: KEYS[path].read(value) for path, value in values.items()}
    return Config.from_values(canonical, dict.fromkeys(values, source))


class Reloads(RuleBasedStateMachine):
    """A node in memory whose owners answer nothing: calls wait until their callers leave, or time is over."""

    def __init__(self) -> None:
        super().__init__()
        self.reactor = ListeningReactor()
        self.next: Any = None
        self.node = make_node(Config(), self.reactor, read=self.read)
        self.node.startService()
        self.told = self.node.bus.subscribe()
        #: What must be in force.
        self.expected = Config()
        self.callers: list[tuple[str, Any, Wire]] = []
        self.reading: list[Deferred[Loaded]] = []
        self.waiting: list[Deferred[Any]] = []
        self.number = 0
        self.failures: list[Any] = []
        globalLogPublisher.addObserver(self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if "log_failure" in event:
            self.failures.append(event)

    def teardown(self) -> None:
        """Whoever still calls leaves: every permit must be back."""
        globalLogPublisher.removeObserver(self.observe)
        for each in list(self.callers):
            self.leave(each)
        self.permits_are_those_of_the_callers()
        assert not self.failures

    def read(self) -> Deferred[Loaded]:
        given, self.next = self.next, None
        if isinstance(given, Config):
            return succeed(Loaded(given))
        if given is not None:
            raise given
        self.reading.append(Deferred())
        return self.reading[-1]

    def result(self, waiting: Deferred[Any]) -> Any:
        found: list[Any] = []
        waiting.addBoth(found.append)
        assert found
        return found[0]

    def took(self, values: dict[str, Any], source: str) -> None:
        """Note what a good reload of *values* puts in force: what needs a restart stays, source and all."""
        moved = {path for path in RESTART if values.get(path, KEYS[path].default) != KEYS[path].default}
        kept = make({path: value for path, value in values.items() if path not in moved}, source)
        stay = {path: self.expected.sources[path] for path in moved if path in self.expected.sources}
        self.expected = attrs.evolve(kept, sources={**kept.sources, **stay})

    @precondition(lambda self: not self.reading)
    @rule(values=wanted, from_config=st.booleans())
    def good(self, values: dict[str, Any], from_config: bool) -> None:
        self.number += 1
        config = make(values, f"env {self.number}")
        before = self.node.config
        self.next = None if from_config else config
        outcome = self.result(self.node.reload(config if from_config else None))
        self.took(values, f"env {self.number}")
        assert outcome.outcome == ("unchanged" if self.expected == before else "applied")
        moved = {path for path in RESTART if path in values and values[path] != KEYS[path].default}
        assert set(outcome.restart) == moved
        assert outcome.config_sha == self.expected.sha()

    @precondition(lambda self: not self.reading)
    @rule(kind=st.sampled_from(["refused", "not built", "defect"]))
    def bad(self, kind: str) -> None:
        error: Any = {
            "refused": lambda: ConfigError([Problem("f:1", "unknown key", "remove it")]),
            "not built": lambda: Config.from_mapping(
                {"pq": {"mode": "required"}, "facets": {"graph": {"limit": 1}}}
            ),
            "defect": lambda: OSError("the disk is gone"),
        }[kind]()
        self.next = error
        outcome = self.result(self.node.reload())
        assert outcome.outcome == ("failed" if isinstance(error, OSError) else "refused")
        if isinstance(error, OSError):
            assert [event["log_failure"].value for event in self.failures] == [error]
            self.failures.clear()

    @precondition(lambda self: not self.reading)
    @rule(values=wanted)
    def look(self, values: dict[str, Any]) -> None:
        self.next = make(values, "look")
        assert self.result(self.node.preview()).outcome in ("would_apply", "unchanged")

    @precondition(lambda self: len(self.waiting) < 4)
    @rule()
    def begin(self) -> None:
        """Ask for a reload that takes its time; more of them share what follows."""
        self.waiting.append(self.node.reload())

    @precondition(lambda self: self.reading)
    @rule(values=wanted, is_good=st.booleans())
    def read_at_last(self, values: dict[str, Any], is_good: bool) -> None:
        self.number += 1
        reading = self.reading.pop(0)
        if is_good:
            reading.callback(Loaded(make(values, f"env {self.number}")))
            self.took(values, f"env {self.number}")
        else:
            reading.errback(ConfigError([Problem("f:1", "unknown key", "remove it")]))
        assert len(self.reading) <= 1, "one at a time"
        self.waiting = [each for each in self.waiting if not each.called]
        assert bool(self.waiting) == bool(self.reading)

    @rule(facet=st.sampled_from(sorted(ASKED)))
    def call(self, facet: str) -> None:
        bound = self.node._dispatcher.serving.bounds.get(facet)
        owner = self.node._owners.clients.get(OWNER_OF[facet])
        is_on = facet in self.node._parts.facets
        admitted = is_on and bound is not None and bound.gate.in_use < bound.gate.limit
        assert owner is not None or not is_on
        served = admitted and owner is not None and owner.inflight < owner.settings.concurrency
        protocol = self.reactor.factories[5310].buildProtocol(None)
        wire = Wire()
        protocol.makeConnection(wire)
        protocol.dataReceived(ASKED[facet])
        answered = wire.value()
        status = 0 if served else 503 if admitted else 429 if is_on else 404
        assert int(answered.split(b" ")[1]) == status if status else not answered
        if served:
            self.callers.append((facet, protocol, wire))

    @precondition(lambda self: self.callers)
    @rule(number=st.integers(min_value=0, max_value=50))
    def go(self, number: int) -> None:
        self.leave(self.callers[number % len(self.callers)])

    def leave(self, caller: tuple[str, Any, Wire]) -> None:
        self.callers.remove(caller)
        caller[1].connectionLost(Failure(ConnectionDone()))

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass: calls are answered 504, and their callers leave."""
        self.reactor.advance(seconds)
        for caller in list(self.callers):
            if caller[2].value():
                self.leave(caller)

    @invariant()
    def what_is_in_force(self) -> None:
        assert self.node.config == self.expected
        assert self.node.config.sha() == self.expected.sha()
        assert self.node.config.overrides() == self.expected.overrides()
        assert self.node.probes.readyz()[0] == 200

    @invariant()
    def bounds_are_the_configured_ones(self) -> None:
        bounds = self.node._dispatcher.serving.bounds
        for name, facet in self.expected.facets.items():
            if facet.enabled:
                assert (bounds[name].gate.limit, bounds[name].timeout_s) == (facet.limit, facet.timeout)
        for name, client in self.node._owners.clients.items():
            owner = self.expected.owners[name]
            assert client.settings.concurrency == owner.concurrency
            assert len(client.settings.agents) == len(owner.url)

    @invariant()
    def permits_are_those_of_the_callers(self) -> None:
        out = [facet for facet, _, _ in self.callers]
        for name, bound in self.node._dispatcher.serving.bounds.items():
            assert bound.gate.in_use == out.count(name)
        for name, client in self.node._owners.clients.items():
            assert client.inflight == sum(OWNER_OF[facet] == name for facet in out)
        assert self.node._dispatcher.active == len(out)

    @invariant()
    def reloads_begin_and_end_in_turn(self) -> None:
        events = [type(event) for event in self.told._events]
        kinds = [event for event in events if event in (ReloadStarted, ReloadEnded)]
        if len(events) < 512:
            assert kinds == ([ReloadStarted, ReloadEnded] * len(kinds))[: len(kinds)]


Reloads.TestCase.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=40, stateful_step_count=40
)
TestReloads = Reloads.TestCase
