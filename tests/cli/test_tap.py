"""The node below twistd: its log, its pid file, SIGHUP, and a port that is taken."""

import io
import json
import signal
import sys
from typing import Any

from twisted.application.service import Application, IService
from twisted.internet import reactor as _reactor
from twisted.logger import ILogObserver, LogLevel, globalLogBeginner, textFileLogObserver
from zope.interface.verify import verifyObject

from micronode.bus import ConfigUpdated, StateChanged
from micronode.cli import hangup, tap
from micronode.cli.tap import TwistdService, makeService
from micronode.concurrency.listening import ListenError
from micronode.config.schema import Config
from tests.cli.support import CommandTestCase, ScriptReactor, send
from tests.cli.test_run import SpyService

reactor: Any = _reactor


class MakeServiceTests(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        # It sets the clock of this process's reactor.
        self.patch(reactor, "seconds", reactor.seconds)

    def options(self, *argv: str, **parent: object) -> tap.Options:
        options = tap.Options()
        options.parent = {"nodaemon": 1, "pidfile": "twistd.pid", "logfile": None, **parent}
        options.parseOptions(list(argv))
        return options

    def test_refused_configuration(self) -> None:
        ended = self.assertRaises(SystemExit, makeService, self.options("--http", "0.0.0.0:1"))
        self.assertEqual(ended.code, 78)
        self.assertRegex(self.complained, r"\Amicronode: flag --http: .*\n\Z")

    def test_a_file_that_is_of_no_use(self) -> None:
        words = ("--set", "owners.index.url=https://owner", "--set", "owners.index.ca=/nowhere.pem")
        ended = self.assertRaises(SystemExit, makeService, self.options(*words))
        self.assertEqual(ended.code, 78)
        self.assertRegex(self.complained, r"\Amicronode: flag --set owners.index.ca: cannot read .*\n\Z")

    def test_what_is_not_built(self) -> None:
        ended = self.assertRaises(SystemExit, makeService, self.options("--set", "http.tls=true"))
        self.assertEqual(ended.code, 78)
        self.assertIn("micronode: flag --set http.tls: http.tls = true is not available yet", self.complained)

    def test_no_pid_file_unless_asked_for(self) -> None:
        options = self.options()
        verifyObject(IService, makeService(options))
        self.assertEqual(options.parent["pidfile"], "")
        options = self.options(pidfile="/run/mine.pid")
        makeService(options)
        self.assertEqual(options.parent["pidfile"], "/run/mine.pid")

    def test_our_log_unless_twistd_was_given_one(self) -> None:
        begin = globalLogBeginner.beginLoggingTo
        self.addCleanup(setattr, globalLogBeginner, "beginLoggingTo", begin)
        for parent, ours in [
            ({}, True),
            ({"logfile": "x.log"}, False),
            ({"logger": "a.b"}, False),
            ({"syslog": 1}, False),
            ({"nodaemon": 0}, False),
        ]:
            application = Application("micronode")
            makeService(self.options(**parent)).setServiceParent(application)
            self.assertEqual(application.getComponent(ILogObserver, None) is not None, ours, parent)
            self.assertEqual(globalLogBeginner.beginLoggingTo == begin, ours, parent)
            globalLogBeginner.beginLoggingTo = begin

    def test_our_log_below_twist_unless_it_was_given_one(self) -> None:
        """twist makes an observer by what stands in its options, and knows what its user said."""
        plain = {"logFile": sys.stdout, "logFormat": "json", "logLevel": LogLevel.info}
        for given, ours in [
            ({}, True),
            ({"logFormat": "text"}, False),
            ({"logLevel": LogLevel.warn}, False),
            ({"logFile": io.StringIO()}, False),
        ]:
            options = tap.Options()
            options.parent = plain | {"fileLogObserverFactory": textFileLogObserver} | given
            options.parseOptions(["--log-level", "error", "--set", "log.format=json"])
            makeService(options)
            factory = options.parent["fileLogObserverFactory"]
            self.assertEqual(factory is not textFileLogObserver, ours, given)
            # What is to be written is decided by the configured level, unless twist was told another.
            level = given.get("logLevel", LogLevel.debug)
            self.assertIs(options.parent["logLevel"], level)
            if ours:
                for level in (LogLevel.warn, LogLevel.error):
                    factory(sys.stdout)({"log_level": level, "log_format": level.name, "log_time": 0.0})
        (line,) = self.printed.splitlines()
        self.assertEqual(json.loads(line)["event"], "error")

    def test_below_twist_without_standard_output(self) -> None:
        options = tap.Options()
        options.parent = {
            "logFile": None,
            "logFormat": "json",
            "logLevel": LogLevel.info,
            "fileLogObserverFactory": textFileLogObserver,
        }
        options.parseOptions([])
        makeService(options)
        self.assertIs(options.parent["logFile"], sys.stdout)

    def test_mistakes_name_the_program(self) -> None:
        for parent, name in [({"nodaemon": 1}, "twistd"), ({"fileLogObserverFactory": None}, "twist")]:
            options = tap.Options()
            options.parent = parent
            ended = self.assertRaises(SystemExit, options.parseOptions, ["--htpp", "x"])
            self.assertEqual(ended.code, 64)
            self.assertIn(f"{name} micronode: option --htpp not recognized", self.complained)
            self.assertIn(f"see {name} micronode --help", self.complained)
            self.assertIn(f"Usage: {name} [{name} options] micronode", str(options))

    def test_log_follows_the_configuration(self) -> None:
        application = Application("micronode")
        service = makeService(self.options("--log-level", "error", "--set", "log.format=json"))
        service.setServiceParent(application)
        observe = application.getComponent(ILogObserver)
        for level in (LogLevel.info, LogLevel.error):
            observe({"log_level": level, "log_format": level.name, "log_time": 0.0})
        (line,) = self.printed.splitlines()
        self.assertEqual(json.loads(line)["event"], "error")

    def test_without_a_parent(self) -> None:
        options = tap.Options()
        options.parseOptions([])
        verifyObject(IService, makeService(options))


class SpySupervisor:
    """Records what it is told, in order."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begin(self, reactor: object) -> None:
        self.seen.append(reactor)

    def follow(self, node: object) -> None:
        self.seen.append(node)


def make_service(node: SpyService, **settings: object) -> TwistdService:
    return TwistdService(node, ScriptReactor(), SpySupervisor(), **settings)  # type: ignore[arg-type]


class TwistdServiceTests(CommandTestCase):
    def test_the_manager_is_told_once_twistd_has_forked(self) -> None:
        node, reactor, supervisor = SpyService(), ScriptReactor(), SpySupervisor()
        service = TwistdService(node, reactor, supervisor)  # type: ignore[arg-type]
        service.privilegedStartService()
        self.assertEqual(supervisor.seen, [])
        service.startService()
        self.assertEqual(supervisor.seen, [reactor, node])

    def test_starts_and_stops_the_node(self) -> None:
        node = SpyService()
        service = make_service(node)
        service.privilegedStartService()
        service.startService()
        self.assertEqual((node.steps, node.running), (["privileged", "start"], 1))
        self.successResultOf(service.stopService())
        self.assertEqual(node.running, 0)

    def test_port_taken(self) -> None:
        real = io.StringIO()
        self.patch(sys, "__stderr__", real)
        for step in ("privileged", "start"):
            service = make_service(SpyService(step))
            ended = self.assertRaises(SystemExit, _start, service)
            self.assertEqual(ended.code, 69)
        self.assertEqual(real.getvalue().count("\n"), 2)
        self.assertIn("micronode: http.listen 127.0.0.1:5310: address already in use", real.getvalue())

    def test_port_taken_in_a_daemon_is_told_by_twistd(self) -> None:
        service = make_service(SpyService("privileged"), daemon=True)
        self.assertRaises(ListenError, _start, service)

    def test_hangup_reloads(self) -> None:
        node = SpyService()
        service = make_service(node)
        _start(service)
        send(signal.SIGHUP)()
        self.assertEqual((node.steps[-1], service.running), ("reload", True))

    def test_a_hangup_that_waited_reloads_once_the_reactor_runs(self) -> None:
        self.patch(hangup, "terminal_is_there", lambda: True)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        hangup.hold_hangup()
        send(signal.SIGHUP)()
        node, reactor = SpyService(), ScriptReactor()
        _start(TwistdService(node, reactor, SpySupervisor()))  # type: ignore[arg-type]
        self.assertEqual(node.steps[-1], "start")
        for hook in reactor.hooks:
            hook()
        self.assertEqual(node.steps[-1], "reload")

    def test_hangup_of_the_terminal_stops(self) -> None:
        for nohup in (False, True):
            there = iter([True, False])
            self.patch(hangup, "terminal_is_there", lambda there=there: next(there))
            signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
            node, reactor = SpyService(), ScriptReactor()
            _start(TwistdService(node, reactor, SpySupervisor()))  # type: ignore[arg-type]
            send(signal.SIGHUP)()
            self.assertEqual((reactor.stopped, node.steps[-1]), (not nohup, "reload" if nohup else "start"))

    def test_the_first_signal_is_the_reactor_s_and_further_ones_hurry(self) -> None:
        stopped: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stopped.append(number))
        node, reactor = SpyService(), ScriptReactor()
        _start(TwistdService(node, reactor, SpySupervisor()))  # type: ignore[arg-type]
        for hook in reactor.hooks:
            hook()
        send(signal.SIGTERM)()
        self.assertEqual((stopped, node.steps[-1]), ([signal.SIGTERM], "start"))
        send(signal.SIGINT)()
        self.assertEqual((stopped, node.steps[-1]), ([signal.SIGTERM], "hurry"))

    def test_its_log_follows_a_reload(self) -> None:
        levels: list[str] = []
        node, observer = SpyService(), Observer()
        observer.set_level = levels.append
        node.config = Config.from_mapping({"log": {"level": "error"}})
        _start(make_service(node, observer=observer))
        node.bus.publish(ConfigUpdated(config_sha="b", previous_sha="a", changed=(), restart=()))
        self.assertEqual(levels, ["error"])

    def test_a_node_that_stops_by_itself_takes_twistd_along(self) -> None:
        node, reactor = SpyService(), ScriptReactor()
        _start(TwistdService(node, reactor, SpySupervisor()))
        for _ in range(2):
            node.bus.publish(StateChanged(state="draining", previous="running"))
            reactor.advance(0)
            self.assertTrue(reactor.stopped)


class Observer:
    """Stands in for the log."""


def _start(service: TwistdService) -> None:
    service.privilegedStartService()
    service.startService()
