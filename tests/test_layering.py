"""The layers: who may import whom. A module that is in no layer fails here, and so does an import upwards.

The table is ``docs/architecture.rst``'s. Imports inside functions count; those under ``TYPE_CHECKING`` do
not, since nothing of them is there when the node runs.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import micronode

PACKAGE = Path(micronode.__file__).parent

#: From the lowest up; each layer is a list of groups. A module belongs to the longest name that is its
#: own or its package's. It imports its own group and lower layers, and nothing of its own layer's others.
LAYERS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("oap.wire",),),
    (
        (
            "errors",
            "interfaces",
            "bus",
            # What the schema is made of is as low as the schema.
            "config.schema",
            "config.address",
            "config.kinds",
            "config.url",
            "config.contradictions",
            "config.fields",
            "config.guards",
            "config.measures",
            "config.members",
            "config.problems",
            "config.readers",
            "config.routes",
            "config.sections",
            "config.table",
            "calls.answers",
            "calls.call",
            "calls.context",
            "calls.inflate",
            "calls.operations",
            "calls.table",
        ),
    ),
    (("observability",),),
    (("concurrency",), ("security",), ("config",), ("lifecycle",)),
    (("adapters",),),
    (("facets",),),
    (
        (
            "calls.dispatcher",
            "calls.deadline",
            "calls.outcome",
            "calls.refusals",
            "calls.running",
            "calls.serving",
        ),
    ),
    (("oap",), ("http",)),
    # The other end: it uses what the node's side has, never the other way round.
    (("oap.client",),),
    (("node", "assembly", "builtin", "prepared", "custom", "draining", "overview", "sickness", "topology"),),
    (("cli", "__main__"),),
)
#: Their modules are of several layers, so importing one of them must not bring in another.
MIXED = ("", "calls", "config", "oap")
#: Further than the layers: these see interfaces, never who implements them.
FORBIDDEN = (("facets", "adapters"), ("oap", "adapters"), ("http", "adapters"))
#: The reference owners are programs of their own: they share the lowest layers with the node.
DEVOWNERS = "devowners"
DEVOWNERS_MAY_IMPORT = 1
#: The one module that starts them, and only when it is asked to.
DEVOWNERS_DOOR = "cli.owners"


class Import(NamedTuple):
    """One import statement's effect, by whom, and where."""

    importer: str
    target: str
    line: int
    lazy: bool

    def __str__(self) -> str:
        return f"{self.importer or 'micronode'}, line {self.line}: imports {self.target}"


def module_files() -> dict[str, Path]:
    """Return every module by its name within the package: ``calls.call``; the package itself is ``""``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _is_type_checking(node: ast.If) -> bool:
    test = node.test
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _statements(tree: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, lazy
        elif isinstance(node, ast.If) and _is_type_checking(node):
            for each in node.orelse:
                yield from _statements(ast.Module(body=[each], type_ignores=[]), lazy)
        else:
            inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _statements(node, inside)


def imports_of(importer: str, source: str, modules: set[str]) -> list[Import]:
    """Return the imports of *source*; ``from a import b`` is of ``a.b`` where that is a module of ours."""
    found = []
    for node, lazy in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif node.level:
            raise AssertionError(f"{importer}, line {node.lineno}: relative imports are not used here")
        else:
            base = node.module or ""
            targets = []
            for alias in node.names:
                longer = f"{base}.{alias.name}"
                is_module = (
                    longer.removeprefix("micronode.") in modules or longer == "twisted.internet.reactor"
                )
                targets.append(longer if is_module else base)
        found.extend(Import(importer, target, node.lineno, lazy) for target in targets)
    return found


def own(target: str) -> str | None:
    """Return *target* without the package's own name, or None where it is not ours."""
    if target == "micronode":
        return ""
    return target.removeprefix("micronode.") if target.startswith("micronode.") else None


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def place(module: str) -> tuple[int, tuple[str, ...]] | None:
    """Return the layer of *module* and its group, or None where it has none."""
    best: tuple[int, int, tuple[str, ...]] | None = None
    for rank, groups in enumerate(LAYERS):
        for group in groups:
            for name in group:
                if is_in(module, name) and (best is None or len(name) > best[0]):
                    best = (len(name), rank, group)
    return best and best[1:]


def complaint(found: Import) -> str | None:
    """Return what is wrong with an import of ours, or None."""
    importer, target = found.importer, own(found.target)
    if target is None or target == "" or (is_in(target, importer) and importer not in MIXED):
        return None
    if is_in(target, DEVOWNERS):
        if is_in(importer, DEVOWNERS) or (importer == DEVOWNERS_DOOR and found.lazy):
            return None
        return f"{found}; only {DEVOWNERS_DOOR} may, inside a function"
    if target in MIXED or importer in MIXED:
        # The package's own face loads what it offers on first use.
        return (
            None if importer == "" and found.lazy else f"{found}; {importer or 'micronode'} imports nothing"
        )
    there = place(target)
    if there is None:
        return f"{found}, which is in no layer"
    if is_in(importer, DEVOWNERS):
        return None if there[0] <= DEVOWNERS_MAY_IMPORT else f"{found}; the reference owners stand apart"
    here = place(importer)
    if here is None:
        return None
    for one, other in FORBIDDEN:
        if is_in(importer, one) and is_in(target, other) and there != here:
            return f"{found}; {one} never imports {other}"
    if there[0] < here[0] or there == here:
        return None
    return f"{found}, which is not below it"


class LayerTests(SynchronousTestCase):
    """Every module of the package."""

    def setUp(self) -> None:
        self.files = module_files()
        names = set(self.files)
        self.imports = [
            found
            for name, path in self.files.items()
            for found in imports_of(name, path.read_text("utf-8"), names)
        ]

    def test_every_module_is_in_a_layer(self) -> None:
        lost = [
            name
            for name in self.files
            if name not in MIXED and not is_in(name, DEVOWNERS) and place(name) is None
        ]
        self.assertEqual(lost, [], "assign them to a layer in LAYERS, and in docs/architecture.rst")

    def test_imports(self) -> None:
        complaints = [text for text in map(complaint, self.imports) if text]
        self.assertEqual(complaints, [])

    def test_the_wire_is_of_the_standard_library(self) -> None:
        foreign = [
            str(found)
            for found in self.imports
            if is_in(found.importer, "oap.wire")
            and not is_in(own(found.target) or "", "oap.wire")
            and found.target.partition(".")[0] not in sys.stdlib_module_names
        ]
        self.assertEqual(foreign, [])

    def test_the_global_reactor(self) -> None:
        """Everybody is handed a reactor or a clock; only who starts the process takes the global one."""
        takers = [
            str(found)
            for found in self.imports
            if found.target == "twisted.internet.reactor"
            and not is_in(found.importer, "cli")
            and not is_in(found.importer, DEVOWNERS)
        ]
        self.assertEqual(takers, [])

    def test_the_plugin(self) -> None:
        """It names the command line by text: whoever lists twistd's plugins loads nothing of the node."""
        plugin = PACKAGE.parent / "twisted/plugins/micronode_plugin.py"
        if not plugin.exists():
            # Installed: the plugin is beside Twisted's own.
            self.skipTest("not a checkout")
        found = imports_of("plugin", plugin.read_text("utf-8"), set(self.files))
        # But what lets SIGHUP wait, once its options are asked for: of the standard library alone.
        ours = {own(each.target) for each in found if own(each.target) is not None}
        self.assertLessEqual(ours, {"cli", "cli.hangup", "cli.hangup.hold_hangup"})
        self.assertFalse((plugin.parent / "__init__.py").exists())
        self.assertFalse((plugin.parent.parent / "__init__.py").exists())


class ReaderTests(SynchronousTestCase):
    """The reader of imports sees what it must; else the tests above prove nothing."""

    MODULES = frozenset({"calls.call", "adapters.owner", "http.site", "oap.wire.frames", "config.sources"})

    def complaints(self, importer: str, source: str) -> list[str]:
        found = imports_of(importer, source, set(self.MODULES))
        return [text for text in map(complaint, found) if text]

    def test_refused(self) -> None:
        for importer, source in (
            ("calls.call", "from micronode.http.site import HttpSite"),
            ("calls.call", "import micronode.http.site"),
            ("calls.call", "from micronode.http import site"),
            ("calls.call", "def f():\n    from micronode.http import site"),
            ("calls.call", "async def f():\n    async with x:\n        import micronode.node"),
            ("calls.call", "try:\n    import micronode.node\nexcept ImportError:\n    pass"),
            ("calls.call", "if TYPE_CHECKING:\n    pass\nelse:\n    import micronode.node"),
            ("calls.call", "class A:\n    import micronode.node"),
            ("facets.media", "from micronode.adapters.owner import OwnerClient"),
            ("http.site", "from micronode.adapters.owner import OwnerClient"),
            ("http.site", "from micronode.oap.session import Session"),
            ("oap.session", "from micronode.http.site import HttpSite"),
            ("oap.session", "from micronode.adapters.owner import OwnerClient"),
            ("oap.session", "from micronode.oap.client.errors import OAPError"),
            ("concurrency.listening", "from micronode.config.sources import load"),
            ("observability.version", "from micronode.lifecycle import State"),
            ("node", "from micronode.devowners.index import Index"),
            ("node", "def f():\n    import micronode.devowners"),
            ("cli.owners", "from micronode.devowners.main import main"),
            ("cli.dev", "def f():\n    from micronode.devowners.main import main"),
            ("devowners.main", "from micronode.cli.options import NodeOptions"),
            ("calls", "from micronode.calls.call import Call"),
            ("", "from micronode.calls.call import Call"),
            ("node", "from micronode.elsewhere import x"),
        ):
            self.assertEqual(len(self.complaints(importer, source)), 1, (importer, source))

    def test_allowed(self) -> None:
        for importer, source in (
            ("node", "from micronode.adapters.owner import OwnerClient"),
            ("http.site", "import micronode\nfrom micronode import __version__"),
            ("http.site", "from micronode.http.channel import HttpChannel\nfrom micronode.calls import call"),
            ("calls.call", "if TYPE_CHECKING:\n    from micronode.http.site import HttpSite"),
            ("calls.call", "if typing.TYPE_CHECKING:\n    from micronode.http.site import HttpSite"),
            ("cli.owners", "def f():\n    from micronode.devowners.main import main"),
            ("devowners.main", "from micronode.errors import NodeError"),
            ("", "def f():\n    from micronode.node import make_node"),
            ("oap.session", "from micronode.oap.wire.frames import Frame"),
        ):
            self.assertEqual(self.complaints(importer, source), [], (importer, source))

    def test_relative_imports(self) -> None:
        self.assertRaises(AssertionError, imports_of, "calls.call", "from . import operations", set())


class LoadedModulesTests(SynchronousTestCase):
    """What an import really brings in, in a fresh interpreter."""

    def loaded_by(self, module: str) -> set[str]:
        program = (
            "import sys; before = set(sys.modules); "
            f"import {module}; print(*sorted(set(sys.modules) - before))"
        )
        # The tests' own path: an interpreter that is started afresh may not have micronode installed.
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {[str(PACKAGE.parent)]!r}; {program}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(done.stdout.split())

    def test_the_wire(self) -> None:
        loaded = self.loaded_by("micronode.oap.wire.connection")
        self.assertIn("micronode.oap.wire.connection", loaded)
        ours = {name for name in loaded if own(name) is not None}
        foreign = {name for name in loaded - ours if name.partition(".")[0] not in sys.stdlib_module_names}
        self.assertEqual(foreign, set())
        self.assertEqual(
            {name for name in ours if not is_in(own(name) or "", "oap") and own(name) != ""}, set()
        )

    def test_the_node(self) -> None:
        """No reference owner, and no command line."""
        loaded = self.loaded_by("micronode.node")
        self.assertIn("micronode.node", loaded)
        unwanted = {
            name
            for name in loaded
            if is_in(own(name) or "", DEVOWNERS) or is_in(own(name) or "", "cli") or name == "sqlite3"
        }
        self.assertEqual(unwanted, set())

    def test_the_node_brings_no_reactor(self) -> None:
        """A host program installs the reactor it wants, before or after it imports a node."""
        self.assertEqual(self.loaded_by("micronode.node") & {"twisted.internet.reactor"}, set())

    def test_the_package(self) -> None:
        """The package's face alone is light: what it offers loads on first use."""
        self.assertEqual(
            {name for name in self.loaded_by("micronode") if own(name) is not None}, {"micronode"}
        )
