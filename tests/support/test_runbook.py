"""The runbook's reader: which blocks there are, and what a transcript says of what is printed."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.runbook import Block, Sandbox, blocks, pattern

PAGE = """
Text.

.. run: tool

.. code-block:: console

   $ one
   printed
   $ two | three

.. file: /etc/x

.. code-block:: toml

   [a]

   b = 1

More text.

.. code-block:: console

   $ nobody says what becomes of it
"""


class BlocksTests(SynchronousTestCase):
    def test_each_with_what_becomes_of_it(self) -> None:
        run, file, neither = blocks(PAGE)
        self.assertEqual((run.kind, run.word), ("run", "tool"))
        self.assertEqual(list(run.steps()), [("one", "printed\n"), ("two | three", "")])
        self.assertEqual((file.kind, file.word, file.text), ("file", "/etc/x", "[a]\n\nb = 1\n"))
        self.assertEqual((neither.kind, neither.line), ("", 22))


class PatternTests(SynchronousTestCase):
    def test_what_it_takes_and_what_not(self) -> None:
        for said, printed, fits in [
            ("", "", True),
            ("", "x\n", False),
            ("a\n", "a\n", True),
            ("a\n", "a\nb\n", False),
            ("a\n", "", False),
            ("a...c\n", "a b c\n", True),
            ("a...c\n", "a\nc\n", False),
            ("a\n...\nd\n", "a\nb\nc\nd\n", True),
            ("a\n...\nd\n", "a\nd\n", True),
            ("...\n", "", True),
            ("a.b\n", "axb\n", False),
        ]:
            self.assertEqual(pattern(said).fullmatch(printed) is not None, fits, (said, printed))


class SandboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sandbox = Sandbox()
        self.addCleanup(self.sandbox.close)

    def test_one_shell_for_all_commands(self) -> None:
        self.assertEqual(self.sandbox.run("x=1"), "")
        self.assertEqual(self.sandbox.run('cat; echo "$x" >&2; false'), "1\n")

    def test_paths_and_ports_are_its_own(self) -> None:
        self.sandbox.write(Block(1, "file", "/etc/a/b", "port = 5310\n"))
        port = self.sandbox.localise("5310")
        self.assertNotEqual(port, "5310")
        self.assertEqual(self.sandbox.run("cat /etc/a/b"), f"port = {port}\n")
        self.assertNotEqual(self.sandbox.localise("5311"), port)
