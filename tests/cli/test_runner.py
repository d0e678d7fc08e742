"""Starting and stopping: signals, failures, and what a second signal does."""

import signal

from twisted.internet.defer import Deferred

from micronode.cli import hangup
from micronode.cli.exits import CommandError, Exit
from micronode.cli.hangup import hold_hangup
from micronode.cli.runner import Runner, run_to_end
from tests.cli.support import CommandTestCase, ScriptReactor, send


class Subject:
    """Something that starts and stops when the test says so."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.started: Deferred[None] = Deferred()
        self.stopped: Deferred[None] = Deferred()
        self.runner: Runner | None = None

    async def start(self) -> None:
        self.seen.append("start")
        await self.started
        self.seen.append("started")

    async def stop(self) -> None:
        self.seen.append("stop")
        await self.stopped

    def hurry(self) -> None:
        self.seen.append("hurry")

    def reload(self) -> None:
        self.seen.append("reload")

    def run(self, *script: object) -> int:
        reactor = ScriptReactor(*script)  # type: ignore[arg-type]
        self.runner = Runner(reactor, start=self.start, stop=self.stop, hurry=self.hurry, reload=self.reload)
        return self.runner.run()

    def ready(self) -> None:
        self.started.callback(None)

    def drained(self) -> None:
        self.stopped.callback(None)


class RunnerTests(CommandTestCase):
    def test_stops_in_order(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            subject = Subject()
            code = subject.run(subject.ready, send(number), subject.drained)
            self.assertEqual((code, subject.seen), (0, ["start", "started", "stop"]))
        self.assertEqual(self.complained, "")

    def test_a_second_signal_hurries(self) -> None:
        subject = Subject()
        code = subject.run(subject.ready, send(signal.SIGTERM), send(signal.SIGINT), subject.drained)
        self.assertEqual((code, subject.seen[-2:]), (0, ["stop", "hurry"]))

    def test_a_third_signal_ends_what_hangs(self) -> None:
        subject = Subject()
        code = subject.run(subject.ready, *[send(signal.SIGTERM)] * 3)
        self.assertEqual((code, subject.seen.count("stop"), subject.seen.count("hurry")), (1, 1, 1))
        self.assertEqual(self.complained, "micronode: a third signal: ended before the stop was finished\n")
        subject.drained()

    def test_a_signal_before_it_started_cancels_the_start(self) -> None:
        subject = Subject()
        code = subject.run(send(signal.SIGTERM), subject.drained)
        self.assertEqual((code, subject.seen), (0, ["start", "stop"]))
        self.assertEqual(self.complained, "")

    def test_a_start_that_cannot(self) -> None:
        subject = Subject()
        error = CommandError(Exit.UNAVAILABLE, "http.listen: address in use")
        code = subject.run(lambda: subject.started.errback(error), subject.drained)
        self.assertEqual((code, subject.seen), (69, ["start", "stop"]))
        self.assertEqual(self.complained, "micronode: http.listen: address in use\n")

    def test_a_start_that_is_broken(self) -> None:
        subject = Subject()
        subject.started.errback(ZeroDivisionError())
        self.assertEqual(subject.run(subject.drained), 70)
        self.assertIn("ZeroDivisionError", self.complained)

    def test_a_stop_that_is_broken(self) -> None:
        subject = Subject()
        subject.stopped.errback(ZeroDivisionError())
        self.assertEqual(subject.run(subject.ready, send(signal.SIGTERM)), 70)
        self.assertIn("defect of micronode", self.complained)

    def test_finish_is_for_the_first(self) -> None:
        subject = Subject()

        def finish_twice() -> None:
            assert subject.runner is not None
            subject.runner.finish(1, "the owners died")
            subject.runner.finish(0, "again")

        self.assertEqual(subject.run(subject.ready, finish_twice, subject.drained), 1)
        self.assertEqual(self.complained, "micronode: the owners died\n")
        self.assertEqual(subject.seen.count("stop"), 1)

    def test_hangup_reloads(self) -> None:
        self.patch(hangup, "terminal_is_there", lambda: True)
        subject = Subject()
        hup, end = send(signal.SIGHUP), send(signal.SIGTERM)
        code = subject.run(subject.ready, hup, end, hup, subject.drained)
        seen = ["start", "started", "reload", "stop", "reload"]
        self.assertEqual((code, subject.seen), (0, seen))

    def test_hangups_before_it_has_started_reload_once(self) -> None:
        self.patch(hangup, "terminal_is_there", lambda: True)
        for early in (False, True):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            if early:
                hold_hangup()
                send(signal.SIGHUP)()
                send(signal.SIGHUP)()
            subject = Subject()
            hups = () if early else (send(signal.SIGHUP), send(signal.SIGHUP))
            code = subject.run(*hups, subject.ready, send(signal.SIGTERM), subject.drained)
            self.assertEqual((code, subject.seen), (0, ["start", "started", "reload", "stop"]))

    def test_a_hangup_before_a_start_that_fails(self) -> None:
        subject = Subject()
        self.patch(hangup, "terminal_is_there", lambda: True)
        error = CommandError(Exit.UNAVAILABLE, "no")
        code = subject.run(send(signal.SIGHUP), lambda: subject.started.errback(error), subject.drained)
        self.assertEqual((code, subject.seen), (69, ["start", "stop"]))

    def test_what_stops_by_itself(self) -> None:
        """It ends; and the first signal after that is a first one, which asks for no hurry."""
        subject = Subject()

        def drained() -> None:
            assert subject.runner is not None
            subject.runner.drained()

        end = send(signal.SIGTERM)
        code = subject.run(subject.ready, drained, end, drained, subject.drained)
        self.assertEqual((code, subject.seen), (0, ["start", "started", "stop"]))
        again = Subject()
        subject = again
        again.run(again.ready, drained, end, end, again.drained)
        self.assertEqual(again.seen[-2:], ["stop", "hurry"])
        last = Subject()
        subject = last
        last.run(last.ready, end, drained, end, last.drained)
        self.assertEqual(last.seen[-2:], ["stop", "hurry"])

    def test_hangup_at_the_very_end_does_not_kill(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        subject = Subject()
        subject.run(subject.ready, send(signal.SIGTERM), subject.drained)
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)

    def test_hangup_of_the_terminal_ends_it(self) -> None:
        there = iter([True, False])
        self.patch(hangup, "terminal_is_there", lambda: next(there))
        subject = Subject()
        self.assertEqual(subject.run(subject.ready, send(signal.SIGHUP), subject.drained), 0)
        self.assertEqual(subject.seen[-1], "stop")

    def test_hangup_of_the_terminal_below_nohup(self) -> None:
        there = iter([True])
        self.patch(hangup, "terminal_is_there", lambda: next(there))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        subject = Subject()
        subject.run(subject.ready, send(signal.SIGHUP), send(signal.SIGTERM), subject.drained)
        self.assertEqual(subject.seen[-2:], ["reload", "stop"])
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)


class RunToEndTests(CommandTestCase):
    def test_its_code(self) -> None:
        async def act() -> int:
            return 7

        self.assertEqual(run_to_end(ScriptReactor(), act), 7)

    def test_its_error(self) -> None:
        async def act() -> int:
            raise CommandError(Exit.USAGE, "no")

        self.assertRaises(CommandError, run_to_end, ScriptReactor(), act)

    def test_interrupted(self) -> None:
        waiting: Deferred[None] = Deferred()
        cleaned = []

        async def act() -> int:
            try:
                await waiting
            finally:
                cleaned.append(True)
            return 0

        self.assertEqual(run_to_end(ScriptReactor(send(signal.SIGINT)), act), 1)
        self.assertEqual((cleaned, self.complained), ([True], ""))
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_DFL)
