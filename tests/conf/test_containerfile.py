"""The recipe of the image says what its comments promise. (Its steps are run in test_container.)"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.conf.containerfile import PATH, read
from tests.conf.manifests import ROOT
from tests.conf.manifests import read as read_manifest


class ReaderTests(SynchronousTestCase):
    def test_lines_that_go_on_and_comments(self) -> None:
        arguments, (first, last) = read(
            'ARG V=1\nFROM a:${V} AS b\n# no\nENV A=1 \\\n    B=2\nFROM c\nRUN ["x"]\n'
        )
        self.assertEqual((arguments, first.base, first.name, last.base), ({"V": "1"}, "a:1", "b", "c"))
        self.assertEqual((first.all("ENV"), last.words("RUN")), (["A=1 B=2"], [["x"]]))

    def test_what_is_no_instruction(self) -> None:
        for text in ("FROM a\nfoo", "RUN x\nFROM a"):
            self.assertRaises(ValueError, read, text)


class ContainerfileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = PATH.read_text("utf-8")
        self.arguments, (self.build, self.final) = read(self.text)

    def test_one_slim_base_pinned_by_tag(self) -> None:
        self.assertEqual(self.build.base, self.final.base)
        self.assertRegex(self.final.base, r"^python:3\.\d+-slim-[a-z]+$")

    def test_only_named_files_come_in(self) -> None:
        """Nothing is copied whole, so an ignore file has nothing to keep out."""
        sources = [word for each in self.build.all("COPY") for word in each.split()[:-1]]
        self.assertGreaterEqual(set(sources), {"setup.py", "pyproject.toml", "micronode", "twisted"})
        for source in sources:
            self.assertTrue((ROOT / source).exists(), source)
            self.assertNotIn(source, (".", "./", "*"))
        self.assertEqual(self.build.all("ADD") + self.final.all("ADD"), [])

    def test_the_final_stage_takes_one_folder_of_the_first(self) -> None:
        self.assertEqual(self.final.all("COPY"), ["--from=build /opt/micronode /opt/micronode"])
        # What it runs installs nothing.
        self.assertEqual([words[:3] for words in self.final.words("RUN")], [["python", "-m", "compileall"]])

    def test_no_compiler(self) -> None:
        self.assertNotRegex(
            " ".join(text for _, text in self.build.steps + self.final.steps), r"apt|gcc|build-ess"
        )
        self.assertIn("--only-binary=:all:", self.build.all("RUN")[-1])

    def test_who_runs_it(self) -> None:
        """The user of the manifests: a number, and not root."""
        (user,) = self.final.all("USER")
        context = read_manifest("deployment.yaml")["spec"]["template"]["spec"]["securityContext"]
        self.assertEqual(user, f"{context['runAsUser']}:{context['runAsGroup']}")
        # Nothing is done as root behind it.
        order = [word for word, _ in self.final.steps]
        self.assertGreater(order.index("USER"), len(order) - 1 - order[::-1].index("RUN"))

    def test_what_it_runs(self) -> None:
        self.assertEqual(self.final.words("ENTRYPOINT"), [["micronode"]])
        self.assertEqual(self.final.words("CMD"), [["run"]])
        self.assertEqual(self.final.all("STOPSIGNAL"), ["SIGTERM"])
        (environment,) = self.final.all("ENV")
        self.assertIn("PYTHONDONTWRITEBYTECODE=1", environment.split())
        path = re.search(r"PATH=(\S+)", environment)
        assert path is not None
        self.assertEqual(path[1].split(":")[0], "/opt/micronode/bin")

    def test_it_claims_nothing_else(self) -> None:
        for stage in (self.build, self.final):
            for word in ("EXPOSE", "HEALTHCHECK", "VOLUME"):
                self.assertEqual(stage.all(word), [])
