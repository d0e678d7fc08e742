"""SIGHUP before a node can act on it: it waits, and the rules of ignoring and of terminals hold."""

import os
import signal

from micronode.cli import hangup
from micronode.cli.hangup import hold_hangup, take_hangup
from micronode.cli.main import main
from tests.cli.support import CommandTestCase, send


def nobody(*_: object) -> None:
    """Handle nothing."""


class HoldTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.there = True
        self.patch(hangup, "terminal_is_there", lambda: self.there)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def test_it_waits(self) -> None:
        hold_hangup()
        hold_hangup()
        terminal, came = take_hangup(nobody)
        self.assertEqual((came, terminal.is_gone), (False, False))
        self.assertIs(signal.getsignal(signal.SIGHUP), nobody)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        hold_hangup()
        send(signal.SIGHUP)()
        self.assertTrue(take_hangup(nobody)[1])
        self.assertFalse(take_hangup(nobody)[1])

    def test_where_it_is_ignored_or_handled_it_stays_so(self) -> None:
        for handler in (signal.SIG_IGN, nobody):
            signal.signal(signal.SIGHUP, handler)
            hold_hangup()
            self.assertIs(signal.getsignal(signal.SIGHUP), handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        terminal, _ = take_hangup(nobody)
        self.there = False
        self.assertFalse(terminal.is_gone)

    def test_a_terminal_that_hangs_up_meanwhile_ends_the_process(self) -> None:
        killed: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda *args: killed.append(args))
        hold_hangup()
        hung_up = send(signal.SIGHUP)
        self.there = False
        hung_up()
        self.assertEqual(killed, [(os.getpid(), signal.SIGHUP)])
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)

    def test_the_terminal_is_that_of_the_beginning(self) -> None:
        hold_hangup()
        self.there = False
        self.assertTrue(take_hangup(nobody)[0].is_gone)

    def test_a_daemon_has_none(self) -> None:
        hold_hangup()
        self.there = False
        self.patch(os, "getpid", lambda: 0)
        self.assertFalse(take_hangup(nobody)[0].is_gone)

    def test_only_for_who_runs_a_node(self) -> None:
        for argv, held in ((["version"], False), (["run", "--help"], True), (["dev", "--help"], True)):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            self.assertEqual(main(argv), 0)
            self.assertEqual(signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL, held, argv)
