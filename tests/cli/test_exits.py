"""Messages for people: one line each, and a closed standard error is survived."""

import io

from micronode.cli.exits import CommandError, Exit, print_error, say
from micronode.config.kinds import ConfigError, Problem
from tests.cli.support import CommandTestCase


class ExitTests(CommandTestCase):
    def test_a_line_a_problem(self) -> None:
        error = CommandError.refused(ConfigError([Problem("a:1", "b", "c"), Problem("d", "e", "f")]))
        self.assertEqual(error.code, 78)
        print_error(error)
        self.assertEqual(self.complained, "micronode: a:1: b; c\nmicronode: d: e; f\n")

    def test_codes_are_those_of_sysexits(self) -> None:
        self.assertEqual([int(code) for code in Exit], [0, 1, 64, 69, 70, 78])

    def test_what_is_no_text_is_escaped(self) -> None:
        """A terminal would act on it, and a surrogate cannot be written."""
        say("--set \x1b[2J\n\udcff caf\u00e9")
        self.assertEqual(self.complained, "micronode: --set \\x1b[2J\\n\\udcff caf\u00e9\n")

    def test_nobody_listens(self) -> None:
        closed = io.StringIO()
        closed.close()
        say("hello", closed)
        self.assertEqual(self.complained, "")
