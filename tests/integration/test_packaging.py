"""The artefacts: wheel and sdist, built from the checkout's files, installed and run as a stranger would.

The files are those git knows and those it does not ignore, so that this also holds before a commit.
Nothing here needs a package index: setuptools and the dependencies are this environment's own. A clean
virtual environment gets them through a ``.pth`` file, which puts this environment's site-packages *behind*
its own. (``--system-site-packages`` would not do: it shows the packages of the Python that a virtual
environment was made from, not those of the virtual environment the tests run in. And a plain path in a
``.pth`` does not run the ``.pth`` files found there, so a development installation of micronode stays out
of sight.)
"""

from __future__ import annotations

import atexit
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from email.message import Message
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import micronode
from tests.support.tools import missing, require_tool

ROOT = Path(micronode.__file__).parent.parent
VERSION = micronode.__version__
#: The first that writes a licence expression.
SETUPTOOLS = Version("77")
TIMEOUT_S = 60
#: Files of the checkout that only a checkout needs.
CHECKOUT_ONLY = frozenset({".gitignore", ".gitattributes"})


class Artefacts(NamedTuple):
    """What was built, and what from."""

    files: frozenset[str]
    wheel: Path
    sdist: Path


def run(*command: str | Path, cwd: Path, timeout_s: float = TIMEOUT_S) -> str:
    """Run *command* outside the checkout's influence and return its output; fail with all of it."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"exit {done.returncode}: {' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def checkout_files() -> frozenset[str]:
    """Return the files of the checkout, by their paths in it."""
    if not (ROOT / ".git").exists():
        raise SkipTest("not a checkout")
    git = require_tool("git")
    listed = run(git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return frozenset(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@cache
def scratch() -> Path:
    """Return a folder for the artefacts; it goes when the tests' process does."""
    folder = Path(tempfile.mkdtemp(prefix="micronode-packaging-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def artefacts() -> Artefacts:
    """Build wheel and sdist once, of a copy: a build leaves things beside the sources."""
    if Version(importlib.metadata.version("setuptools")) < SETUPTOOLS:
        missing(f"setuptools {SETUPTOOLS} or newer is not installed")
    files = checkout_files()
    source, out = scratch() / "source", scratch() / "dist"
    for name in files:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=scratch())
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Artefacts(files, wheel, sdist)


def site_packages() -> list[str]:
    """Return where this environment's packages are."""
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


@cache
def installed(kind: str) -> Path:
    """Install the ``wheel`` or the ``sdist`` in a clean virtual environment; return its ``bin``."""
    artefact = getattr(artefacts(), kind)
    folder = scratch() / f"venv-{kind}"
    venv.create(folder, symlinks=True, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(site_packages()) + "\n", "utf-8")
    # --ignore-installed: a micronode that is installed where the tests run is none of pip's business.
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", folder, "--disable-pip-version-check"]
    run(*pip, "install", *options, artefact, cwd=scratch())
    return folder / "bin"


class WheelTests(SynchronousTestCase):
    """What is in the wheel."""

    def setUp(self) -> None:
        with zipfile.ZipFile(artefacts().wheel) as archive:
            self.names = set(archive.namelist())
            (metadata,) = (name for name in self.names if name.endswith(".dist-info/METADATA"))
            self.metadata: Message = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))

    def test_name(self) -> None:
        """Pure Python, for every Python 3."""
        self.assertEqual(artefacts().wheel.name, f"micronode-{VERSION}-py3-none-any.whl")

    def test_contents(self) -> None:
        """The package's modules, its marker and the plugin; nothing else."""
        info = f"micronode-{VERSION}.dist-info/"
        expected = {
            name
            for name in artefacts().files
            if name.startswith("micronode/") and name.endswith((".py", "/py.typed"))
        }
        self.assertIn("micronode/py.typed", expected)
        self.assertEqual(
            {name for name in self.names if not name.startswith(info)},
            expected | {"twisted/plugins/micronode_plugin.py"},
        )
        self.assertIn(f"{info}licenses/LICENSE", self.names)

    def test_metadata(self) -> None:
        self.assertEqual((self.metadata["Name"], self.metadata["Version"]), ("micronode", VERSION))
        self.assertEqual(self.metadata["License-Expression"], "MIT OR Apache-2.0")
        self.assertEqual(self.metadata["Requires-Python"], ">=3.11")
        self.assertEqual(self.metadata["Description-Content-Type"], "text/x-rst")
        self.assertTrue(self.metadata["Summary"])

    def test_extras(self) -> None:
        extras = set(self.metadata.get_all("Provides-Extra") or ())
        self.assertEqual(extras, {"graph", "search", "feed", "media", "pq-hybrid", "test", "bench", "docs"})

    def test_requirements_are_used(self) -> None:
        """Whatever is installed with a node is imported by it."""
        wanted = [Requirement(text) for text in self.metadata.get_all("Requires-Dist") or ()]
        modules: dict[str, set[str]] = {}
        for module, names in importlib.metadata.packages_distributions().items():
            for name in names:
                modules.setdefault(canonicalize_name(name), set()).add(module)
        source = "\n".join(path.read_text("utf-8") for path in (ROOT / "micronode").rglob("*.py"))
        imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.MULTILINE))
        for name in (canonicalize_name(each.name) for each in wanted if each.marker is None):
            self.assertTrue(modules[name] & imported, f"{name} is required and nowhere imported")

    def test_requirements(self) -> None:
        wanted = [Requirement(text) for text in self.metadata.get_all("Requires-Dist") or ()]
        always = {each.name.lower(): each for each in wanted if each.marker is None}
        self.assertEqual(str(always["twisted"].specifier), ">=26.10")
        self.assertLessEqual({"treq", "klein", "attrs", "blake3"}, set(always))
        self.assertEqual([each.name for each in wanted if each.url], [])
        quantum = [each.name for each in wanted if each.marker and "pq-hybrid" in str(each.marker)]
        self.assertEqual(quantum, ["liboqs-python"])


class SdistTests(SynchronousTestCase):
    """What is in the sdist."""

    def test_contents(self) -> None:
        """Everything the checkout has, so that the tests and the documentation can be had from it."""
        with tarfile.open(artefacts().sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames() if not name.endswith("/")}
        self.assertEqual(artefacts().files - CHECKOUT_ONLY - names, set())
        self.assertNotIn("twisted/__init__.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)

    def test_name(self) -> None:
        self.assertEqual(artefacts().sdist.name, f"micronode-{VERSION}.tar.gz")


class InstalledTests(SynchronousTestCase):
    """What was installed, run from a folder that knows nothing of the checkout."""

    def setUp(self) -> None:
        self.cwd = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.cwd)

    def check(self, kind: str) -> None:
        bin_folder = installed(kind)
        where = run(bin_folder / "python", "-c", "import micronode; print(micronode.__file__)", cwd=self.cwd)
        self.assertTrue(where.startswith(str(bin_folder.parent)), where)
        self.assertEqual(run(bin_folder / "micronode", "version", cwd=self.cwd), f"micronode {VERSION}\n")
        # The dependencies' own scripts are not in the new environment: this is what twistd's does.
        twistd = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        said = run(bin_folder / "python", "-c", twistd, "micronode", "--help", cwd=self.cwd)
        self.assertRegex(said, r"(?m)^Usage: twistd .*micronode")
        self.assertIn("--config", said)
        self.assertNotIn("Traceback", said)
        self.assertEqual(list(self.cwd.iterdir()), [], "something was left where it ran")

    def test_wheel(self) -> None:
        self.check("wheel")

    def test_sdist(self) -> None:
        self.check("sdist")
