"""Tests for :mod:`micronode.devowners.files`."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.corpus import Document
from micronode.devowners.files import MAX_FILE_BYTES, FileCorpus
from micronode.devowners.options import StartError


class FileCorpusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()

    def write(self, files: dict[str, str | bytes]) -> None:
        """Write files by their path below the root."""
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def read(self) -> dict[str, Document]:
        self.corpus = FileCorpus(self.root)
        return {document.id: document for document in self.corpus}

    def targets(self, file_id: str) -> list[str]:
        document = self.read()[file_id]
        self.assertEqual({edge.kind for edge in document.edges}, {"links"})
        return [edge.target for edge in document.edges]

    def refusal(self, root: Path) -> str:
        error = self.assertRaises(StartError, FileCorpus, root)
        self.assertEqual(error.exit_code, 78)
        self.assertIn(str(root), error.message)
        return error.message

    def test_each_kind_of_file(self) -> None:
        self.write(
            {
                "a.md": "# Markdown *title*\ntext",
                "b.rst": "RST title\n=========\n\ntext",
                "c.txt": "First line\nsecond",
                "d/e.html": "<title>HTML title</title><p>text<script>no</script>",
                "d/f.py": '"""Module title.\n"""\nx = 1\n',
                "g.jpg": b"\xff\xd8",
            }
        )
        found = self.read()
        self.assertEqual(
            {name: document.title for name, document in found.items()},
            {
                "a.md": "Markdown title",
                "b.rst": "RST title",
                "c.txt": "First line",
                "d/e.html": "HTML title",
                "d/f.py": "Module title.",
            },
        )
        self.assertEqual(found["d/e.html"].text, "text")
        self.assertEqual(found["b.rst"].body, b"RST title\n=========\n\ntext")
        self.assertEqual(found["d/f.py"].content_type, "text/x-python; charset=utf-8")

    def test_links_between_documents(self) -> None:
        self.write(
            {
                "index.md": "[a](guide/a.rst#part) [out](https://x/guide/a.rst) [up](../x.md) [none](none.md)"
                " [self](index.md) [t](/t.txt)",
                "guide/a.rst": "`b <b.html>`_ and :doc:`/index` and `again <b.html>`_",
                "guide/b.html": '<a href="a%2Erst?x=1">a</a> <a href="mailto:x@y">m</a>'
                '<a href="../t.txt">t</a>',
                "t.txt": "index.md",
            }
        )
        self.assertEqual(self.targets("index.md"), ["guide/a.rst", "t.txt"])
        self.assertEqual(self.targets("guide/a.rst"), ["guide/b.html", "index.md"])
        self.assertEqual(self.targets("guide/b.html"), ["guide/a.rst", "t.txt"])

    def test_imports_between_modules(self) -> None:
        self.write(
            {
                "src/pkg/__init__.py": "from .core import run\n",
                "src/pkg/core.py": "import os\nfrom pkg.sub import tool\nfrom . import util, nothing\n",
                "src/pkg/util.py": "",
                "src/pkg/sub/__init__.py": "",
                "src/pkg/sub/tool.py": "from .. import core\nfrom ..util import x\n",
                "script.py": "import helper, pkg\n",
                "helper.py": "",
            }
        )
        self.assertEqual(self.targets("src/pkg/__init__.py"), ["src/pkg/core.py"])
        self.assertEqual(
            self.targets("src/pkg/core.py"),
            ["src/pkg/sub/__init__.py", "src/pkg/sub/tool.py", "src/pkg/__init__.py", "src/pkg/util.py"],
        )
        self.assertEqual(
            self.targets("src/pkg/sub/tool.py"), ["src/pkg/__init__.py", "src/pkg/core.py", "src/pkg/util.py"]
        )
        self.assertEqual(self.targets("script.py"), ["helper.py", "src/pkg/__init__.py"])

    def test_relative_imports_beyond_the_top_lead_nowhere(self) -> None:
        self.write({"a.py": "from ..... import b\nfrom ....b import c\n", "b.py": ""})
        self.assertEqual(self.read()["a.py"].edges, ())

    def test_what_cannot_be_used_is_counted(self) -> None:
        self.write(
            {
                "ok.md": "fine",
                "latin.txt": b"caf\xe9",
                "long.txt": b"x" * (MAX_FILE_BYTES + 1),
                "most.txt": b"x" * MAX_FILE_BYTES,
            }
        )
        os.mkfifo(self.root / "pipe.txt")
        self.assertEqual(sorted(self.read()), ["most.txt", "ok.md"])
        self.assertEqual(self.corpus.skipped, {"undecodable": 1, "too_large": 1, "unreadable": 1})

    def test_nothing_outside_or_hidden_is_read(self) -> None:
        self.write({"ok.md": "fine", "sub/real.md": "inside"})
        outside = Path(self.mktemp()).absolute()
        outside.mkdir()
        (outside / "secret.md").write_text("secret")
        (self.root / "link.md").symlink_to(outside / "secret.md")
        (self.root / "folder").symlink_to(outside)
        (self.root / "inner.md").symlink_to(self.root / "sub" / "real.md")
        (self.root / "gone.md").symlink_to(self.root / "nowhere.md")
        (self.root / ".git").mkdir()
        (self.root / ".git" / "x.md").write_text("hidden")
        self.assertEqual(sorted(self.read()), ["inner.md", "ok.md", "sub/real.md"])
        self.assertEqual(self.corpus.skipped, {"outside": 1, "unreadable": 1})

    def test_a_file_name_that_is_no_text(self) -> None:
        self.write({"ok.md": "fine"})
        Path(os.fsdecode(os.fsencode(self.root) + b"/\xff.md")).write_text("x")
        self.assertEqual(list(self.read()), ["ok.md"])
        self.assertEqual(self.corpus.skipped, {"undecodable": 1})

    def test_a_folder_without_text(self) -> None:
        self.assertIn("no readable file", self.refusal(self.root))

    def test_no_folder(self) -> None:
        self.assertIn("does not exist", self.refusal(self.root / "missing"))
        self.write({"a.md": "x"})
        self.assertIn("not a directory", self.refusal(self.root / "a.md"))
