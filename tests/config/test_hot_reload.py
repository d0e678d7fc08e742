"""What may change while a node runs: pure."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.hot_reload import Change, Outcome, keeping, plan
from micronode.config.problems import ConfigError, Problem
from micronode.config.schema import KEYS, Config
from micronode.config.sources import Flag, merge


def config(*flags: str, **environ: str) -> Config:
    """Return what ``--set`` *flags* and variables (without MICRONODE_) make."""
    given = [
        Flag(path, text, f"flag --set {path}") for path, _, text in (flag.partition("=") for flag in flags)
    ]
    return merge(flags=given, environ={f"MICRONODE_{name}": text for name, text in environ.items()}).config


_PAIR = ("tls.certificate=/c.pem", "tls.private_key=/k.pem")
#: What else has to be set with a key, by its path or its last part.
WITH = {
    "tls": _PAIR,
    "tls.certificate": _PAIR[1:],
    "tls.private_key": _PAIR[:1],
    "tls.client_allow": ("tls.client_ca=/a.pem",),
    "auth.mode": ("auth.key_file=/keys",),
    "persistence.dir": ("amnesia.enabled=false",),
    "ca": tuple(
        f"owners.{name}.url=https://127.0.0.1:7"
        for name in ("index", "mailbox", "storage", "overlay", "policy")
    ),
    **{
        f"owners.{name}.{key}": (f"owners.{name}.url=https://127.0.0.1:7", f"owners.{name}.{other}=/b")
        for name in ("index", "mailbox", "storage", "overlay", "policy")
        for key, other in (("certificate", "private_key"), ("private_key", "certificate"))
    },
}
OWN = (
    "facets.echo.kind=echo",
    "facets.echo.routes=GET /{rest} read",
)


class PlanTests(SynchronousTestCase):
    """plan()."""

    def test_nothing_differs(self) -> None:
        planned = plan(config(), config())
        self.assertEqual((planned.changes, planned.live, planned.restart), ((), (), ()))
        self.assertEqual(planned.effective, Config())

    def test_live_keys_are_taken_with_their_sources(self) -> None:
        planned = plan(config(), config("drain.grace=3s", LIMITS_MAX_FRAME="64KiB"))
        self.assertEqual(
            planned.changes,
            (
                Change(path="limits.max_frame", source="env MICRONODE_LIMITS_MAX_FRAME", live=True),
                Change(path="drain.grace", source="flag --set drain.grace", live=True),
            ),
        )
        self.assertEqual(planned.effective.drain.grace, 3.0)
        self.assertEqual(planned.effective.source("drain.grace"), "flag --set drain.grace")

    def test_keys_that_need_a_restart_keep_value_and_source(self) -> None:
        current = config("http.listen=127.0.0.1:7000")
        wanted = config("drain.grace=3s", HTTP_LISTEN="127.0.0.1:7001", LOG_FORMAT="json")
        planned = plan(current, wanted)
        self.assertEqual((planned.live, planned.restart), (("drain.grace",), ("http.listen", "log.format")))
        effective = planned.effective
        self.assertEqual(effective.http.listen, "127.0.0.1:7000")
        self.assertEqual(effective.source("http.listen"), "flag --set http.listen")
        self.assertEqual((effective.log.format, effective.source("log.format")), ("auto", "default"))
        self.assertEqual(effective.overrides(), {"http.listen": "flag", "drain.grace": "flag"})

    def test_what_a_restart_key_keeps_is_in_force_so_a_second_plan_names_it_again(self) -> None:
        wanted = config("http.listen=127.0.0.1:7001")
        effective = plan(config(), wanted).effective
        self.assertEqual(plan(effective, wanted).restart, ("http.listen",))
        self.assertEqual(plan(effective, config()).changes, ())

    def test_files_that_were_rewritten(self) -> None:
        """Each is a change of its key, once."""
        before = config("owners.index.url=https://a", "owners.index.ca=/a")
        after = config("owners.index.url=https://a", "owners.index.ca=/b")
        for wanted in (before, after):
            planned = plan(before, wanted).with_files(["owners.index.ca"])
            (change,) = planned.changes
            self.assertEqual((change.path, change.live), ("owners.index.ca", True))
            self.assertEqual(change.source, "flag --set owners.index.ca")
        self.assertEqual(plan(before, before).with_files([]).changes, ())

    def test_every_key_is_one_or_the_other(self) -> None:
        """The whole table, each key by a value of its own: what needs a restart never gets in."""
        current, alone = Config(), []
        for path, row in KEYS.items():
            wanted = _with(path)
            if wanted is None:
                alone.append(path)
                continue
            planned = plan(current, wanted)
            (change,) = [each for each in planned.changes if each.path == path]
            self.assertEqual(change.live, row.reload == "live", path)
            in_force = planned.effective.values()[path]
            expected = (wanted if change.live else current).values()[path]
            self.assertEqual(in_force, expected, path)
        self.assertEqual(alone, ["tls.min_version"], "it has one value yet")

    def test_same_value_from_elsewhere(self) -> None:
        """Where a value comes from follows, also of a key whose change would need a restart."""
        planned = plan(config("http.listen=127.0.0.1:7000"), config(HTTP_LISTEN="127.0.0.1:7000"))
        self.assertEqual(planned.changes, ())
        self.assertEqual(planned.effective.source("http.listen"), "env MICRONODE_HTTP_LISTEN")

    def test_another_profile(self) -> None:
        """What the profile brought stays as long as it is in force, and says that the profile brought it."""
        planned = plan(config("node.profile=dev"), config())
        self.assertEqual(planned.live, ("node.profile", "facets.media.enabled", "drain.grace"))
        self.assertEqual(planned.restart, ("log.file_ok",))
        effective = planned.effective
        self.assertEqual((effective.node.profile, effective.drain.grace), ("none", 10.0))
        self.assertEqual((effective.log.file_ok, effective.source("log.file_ok")), (True, "profile dev"))

    def test_facets_of_ones_own_come_and_go(self) -> None:
        appeared = plan(config(), config(*OWN))
        self.assertIn("facets.echo.kind", appeared.live)
        self.assertIn("echo", appeared.effective.facets)
        vanished = plan(config(*OWN), config())
        self.assertEqual(set(vanished.live), set(appeared.live))
        self.assertNotIn("echo", vanished.effective.facets)
        (kind,) = [change for change in vanished.changes if change.path == "facets.echo.kind"]
        self.assertEqual(kind.source, "default")

    def test_a_mix_that_does_not_fit_together(self) -> None:
        tls = ("http.tls=true", "tls.certificate=/c.pem", "tls.private_key=/k.pem")
        error = self.assertRaises(ConfigError, plan, config(*tls), config())
        (problem,) = error.problems
        self.assertIn("http.tls = true without tls.certificate and tls.private_key", problem.what)
        self.assertIn("as long as http.tls, which cannot change while the node runs, keeps its", problem.what)
        self.assertEqual(problem.fix, "restart the node, or take back the change of http.tls")
        self.assertEqual(problem.where, "flag --set http.tls")


class KeepingTests(SynchronousTestCase):
    """keeping()."""

    def test_members_of_named_sections(self) -> None:
        kept = keeping(
            config("owners.index.timeout=1s", "facets.graph.limit=7"),
            config("owners.index.timeout=2s"),
            ["owners.index.timeout", "facets.graph.limit"],
        )
        self.assertEqual((kept.owners["index"].timeout, kept.facets["graph"].limit), (2.0, 128))
        self.assertEqual(dict(kept.sources), {"owners.index.timeout": "flag --set owners.index.timeout"})

    def test_a_facet_that_only_one_of_them_has(self) -> None:
        for wanted, current in ((config(*OWN), config()), (config(), config(*OWN))):
            self.assertEqual(keeping(wanted, current, ["facets.echo.limit"]), wanted)

    def test_several_of_one_section(self) -> None:
        current = config("log.level=debug", "log.format=json")
        kept = keeping(config(), current, ["log.level", "log.format"])
        self.assertEqual((kept.log.level, kept.log.format), ("debug", "json"))

    def test_what_is_given_is_left_alone(self) -> None:
        wanted, current = config("drain.grace=1s"), config("drain.grace=2s")
        keeping(wanted, current, ["drain.grace"])
        self.assertEqual((wanted.drain.grace, current.drain.grace), (1.0, 2.0))


class OutcomeTests(SynchronousTestCase):
    """Outcome."""

    PROBLEM = Problem("f:1", "is wrong", "right it")

    def test_as_json(self) -> None:
        outcome = Outcome(
            outcome="applied",
            config_sha="ab",
            changes=(
                Change(path="drain.grace", source="f:2", live=True),
                Change(path="http.listen", source="f:3", live=False),
            ),
            warnings=("odd",),
            hidden=("drain.grace of f:9 is hidden by env X",),
        )
        self.assertEqual(
            json.loads(json.dumps(outcome.as_dict())),
            {
                "outcome": "applied",
                "config_sha": "ab",
                "changes": [
                    {"path": "drain.grace", "source": "f:2", "live": True},
                    {"path": "http.listen", "source": "f:3", "live": False},
                ],
                "restart_required": ["http.listen"],
                "problems": [],
                "warnings": ["odd"],
                "hidden": ["drain.grace of f:9 is hidden by env X"],
            },
        )
        self.assertEqual(outcome.reason, "")

    def test_reason(self) -> None:
        one = Outcome(outcome="refused", config_sha="ab", problems=(self.PROBLEM,))
        self.assertEqual(one.reason, "f:1: is wrong; right it")
        three = Outcome(outcome="refused", config_sha="ab", problems=(self.PROBLEM,) * 3)
        self.assertEqual(three.reason, "f:1: is wrong; right it (and 2 more)")


def _with(path: str) -> Config | None:
    """Return a configuration that differs from the default in *path*; None where alone it may not differ."""
    row = KEYS[path]
    texts: list[Any] = [
        *row.choices,
        "true",
        "false",
        "7",
        "7s",
        "4096",
        "2MiB",
        "16MiB",
        "127.0.0.1:7000",
        "http://127.0.0.1:7000",
        "/a",
        "10.0.0.0/8",
        "name",
        "2026-01-31T12:00:00Z",
    ]
    for text in texts:
        try:
            made = config(f"{path}={text}", *WITH.get(path, WITH.get(row.name, ())))
        except ConfigError:
            continue
        if made.values()[path] != row.default:
            return made
    return None
