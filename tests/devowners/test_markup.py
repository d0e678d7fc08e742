"""Tests for :mod:`micronode.devowners.markup`."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.devowners.markup import (
    HTMLText,
    first_heading,
    markdown_links,
    plain_markdown,
    plain_rst,
    python_outline,
    rst_links,
)

MARKDOWN = """\
# Title here

[![badge](https://x/b.svg)](https://x/build) Some *emphasised* and `coded` text with a
[link\nover lines](guide/first.md#part "The guide") and snake_case_name and __dunder__.

<p align="center">Centred</p>

```python
print("kept")
```

[ref]: ./other.md
"""

RST = """\
=====
Title
=====

.. image:: https://x/b.svg
   :alt: badge
.. _target: other.rst
.. |subst| replace:: x

See `the guide <guide/first.rst>`_ and :doc:`api/index` or :doc:`named <faq>` with ``code`` and **bold**.

.. toctree::
   :maxdepth: 2

   chapters/one
   Two <chapters/two>

.. include:: part.txt

.. note:: Kept text
"""


class MarkdownTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(
            plain_markdown(MARKDOWN).splitlines(),
            [
                "Title here",
                "badge Some emphasised and coded text with a",
                "link",
                "over lines and snake_case_name and dunder.",
                "Centred",
                'print("kept")',
            ],
        )

    def test_links(self) -> None:
        self.assertEqual(markdown_links(MARKDOWN)[-2:], ["guide/first.md#part", "./other.md"])


class RSTTests(SynchronousTestCase):
    def test_plain(self) -> None:
        lines = plain_rst(RST).splitlines()
        self.assertEqual(lines[0], "Title")
        self.assertIn("See the guide and api/index or named with code and bold.", lines)
        self.assertIn("Kept text", lines)
        self.assertNotIn("badge", " ".join(lines))

    def test_links(self) -> None:
        self.assertEqual(
            sorted(rst_links(RST)),
            ["api/index", "chapters/one", "chapters/two", "faq", "guide/first.rst", "other.rst", "part.txt"],
        )


class HTMLTests(SynchronousTestCase):
    def test_text_title_and_links(self) -> None:
        page = HTMLText(
            "<!doctype html><title> The &amp; page </title><style>p{}</style>"
            "<script>var x = '<p>no</p>'</script>"
            "<body><h1>Head</h1><a href='a.html'>to a</a><img src=b.png> end"
        )
        self.assertEqual(page.title, "The & page")
        self.assertEqual(page.text(), "Head\nto a\nend")
        self.assertEqual(page.links, ["a.html", "b.png"])

    def test_malformed(self) -> None:
        for html in (
            "<",
            "<!",
            "<![",
            "<![if",
            "<![else[ x ]]>",
            "<!doctype [",
            "<a href=",
            "&#x110000;",
            "</",
            "<p" * 1000,
            "<script>",
        ):
            self.assertIsInstance(HTMLText("before " + html).text(), str)


class PythonTests(SynchronousTestCase):
    def test_docstring_and_imports(self) -> None:
        docstring, imports = python_outline(
            '"""What it does.\n\nMore."""\nimport a.b as c\nfrom d import e\n'
            "from . import f\nfrom ..g import h\n"
        )
        self.assertEqual(first_heading(docstring), "What it does.")
        self.assertEqual(imports, [(0, "a.b"), (0, "d"), (0, "d.e"), (1, ""), (1, "f"), (2, "g"), (2, "g.h")])

    def test_what_is_no_python(self) -> None:
        for source in ("def", "\x00", "print 'x'", "(" * 10_000, "'\\d'\x00"):
            self.assertEqual(python_outline(source), ("", []))


class CostTests(SynchronousTestCase):
    def test_hostile_text_holds_nothing_and_costs_little(self) -> None:
        # A quadratic pattern would take minutes for these.
        for piece in (
            "[",
            "[](",
            "![",
            "`",
            "`<",
            "<",
            "<a",
            "_",
            "*",
            ".. ",
            "- ",
            "= ",
            " ",
            ":a:`",
            ".. _a: ",
            "\n",
        ):
            text = piece * (200_000 // len(piece))
            for plain in (plain_markdown, plain_rst):
                self.assertLessEqual(len(plain(text)), len(text))
            self.assertEqual(markdown_links(text) + rst_links(text), [])
