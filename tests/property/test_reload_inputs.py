"""Any files and variables, one after the other, read by a node that runs: each is taken or refused, whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher

from micronode import make_node
from micronode.cli.exits import CommandError
from micronode.cli.options import NodeOptions
from micronode.config.hot_reload import Outcome
from micronode.config.problems import ConfigError
from micronode.config.schema import KEYS, Config
from micronode.config.sources import Loaded
from tests.config.samples import BUILT_ROWS, other
from tests.property.test_config_commands import CONTENTS, ENVIRON
from tests.test_node import ListeningReactor

_SETTABLE = sorted(path for path in BUILT_ROWS if path != "node.profile")
#: Lines that a node could run with, alone; two of them may contradict each other, or stand twice.
_LINE = st.builds(
    lambda path, default: f"{path} = {KEYS[path].toml(KEYS[path].default if default else other(KEYS[path]))}",
    st.sampled_from(_SETTABLE),
    st.integers(0, 3).map(lambda number: number == 0),
)
_GOOD = st.lists(_LINE, max_size=3, unique_by=lambda line: line.partition(" ")[0]).map(
    lambda lines: "\n".join(lines).encode()
)


@attrs.frozen
class Step:
    """What the file and the environment hold when the node reads them again; the file may be gone."""

    content: bytes | None
    environ: dict[str, str]


STEPS = st.lists(
    st.builds(
        Step,
        # Weighed by hand: strategies of many kinds would be chosen before those of one.
        st.integers(0, 5).flatmap(lambda number: (CONTENTS, st.none())[number] if number < 2 else _GOOD),
        st.integers(0, 5).flatmap(lambda number: st.just({}) if number else ENVIRON),
    ),
    min_size=1,
    max_size=6,
)


def now(waiting: Deferred[Outcome]) -> Outcome:
    """Return the result of a Deferred that has one."""
    found: list[Any] = []
    waiting.addBoth(found.append)
    (outcome,) = found
    assert isinstance(outcome, Outcome), outcome
    return outcome


def live_values(config: Config) -> dict[str, Any]:
    return {row.path: value for row, value in config.rows() if row.reload == "live"}


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_each_input_is_taken_or_refused_whole(steps: list[Step]) -> None:
    critical: list[LogEvent] = []

    def watch(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical:
            critical.append(event)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(os, "environ", {}):
        name = Path(folder) / "f.toml"
        name.write_bytes(b"")
        (Path(folder) / "f1.toml").write_bytes(b"")
        options = NodeOptions()
        options.parse(["--config", str(name), "--set", "drain.grace=0s"])

        async def read() -> Loaded:
            return options.load_again()

        node = make_node(options.load().config, ListeningReactor(), read=read)
        node.startService()
        globalLogPublisher.addObserver(watch)
        try:
            for step in steps:
                if step.content is None:
                    name.unlink(missing_ok=True)
                else:
                    name.write_bytes(step.content)
                os.environ.clear()
                os.environ.update(step.environ)
                before = node.config
                wanted = _loaded(options)
                preview = now(node.preview())
                assert node.config is before
                outcome = now(node.reload())
                assert node.probes.ready
                assert outcome.config_sha == node.config.sha()
                assert (preview.problems, preview.changes) == (outcome.problems, outcome.changes)
                if isinstance(wanted, tuple):
                    assert (outcome.outcome, outcome.problems) == ("refused", wanted)
                if outcome.outcome == "refused":
                    assert node.config is before
                    for problem in outcome.problems:
                        assert problem.where
                        assert problem.fix
                        assert str(problem).isprintable()
                    # Alone it would be taken; as it is, it does not fit to what cannot change.
                    assert isinstance(wanted, tuple) or all(
                        "cannot change while the node runs" in each.what for each in outcome.problems
                    )
                    continue
                assert outcome.outcome in ("applied", "unchanged")
                assert isinstance(wanted, Config)
                assert live_values(node.config) == live_values(wanted)
                assert set(outcome.restart) <= {
                    row.path for row, _ in node.config.rows() if row.reload == "restart"
                }
                assert node.config.source("drain.grace") == "flag --set drain.grace"
        finally:
            globalLogPublisher.removeObserver(watch)
            node.stopService()
    assert critical == []


def _loaded(options: NodeOptions) -> Config | tuple[Any, ...]:
    """Return what a new node would get, or the problems."""
    try:
        return options.load_again().config
    except ConfigError as error:
        return error.problems
    except CommandError as error:
        return error.problems
