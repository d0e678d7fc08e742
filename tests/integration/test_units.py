"""The units of ``conf/``: as files, and running under a real systemd."""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.cli.exits import Exit
from micronode.config.schema import Config
from tests.cli.processes import PATIENCE_S, ROOT, eventually
from tests.support.manager import HOME, Manager, program
from tests.support.runbook import PAGE
from tests.support.tools import require_tool

CONF = ROOT / "conf"
UNITS = ("micronode.service", "micronode@.service", "micronode.socket", "micronode-oap.socket")
PROGRAM, PYTHON = f"{HOME}/bin/micronode", f"{HOME}/bin/python"
#: What "systemd-analyze security" may find at most, of 100: sockets, and a network that has other machines.
EXPOSURE = 11


def settings(name: str) -> list[str]:
    """Return the lines of a unit that say something."""
    lines = (CONF / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def value(name: str, key: str) -> str:
    """Return what a unit says once."""
    (found,) = [line.partition("=")[2] for line in settings(name) if line.startswith(f"{key}=")]
    return found


class UnitFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, instead: tuple[str, str] = ("", "")) -> None:
        """Write the units with a program that is there, and with something instead of something else."""
        for name in UNITS:
            text = (CONF / name).read_text().replace(PROGRAM, "/bin/true")
            (self.folder / name).write_text(text.replace(*instead) if instead[0] else text)

    def analyze(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [require_tool("systemd-analyze"), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def verify(self) -> tuple[int, str]:
        return self.analyze("verify", *(f"./{name.replace('@', '@blue')}" for name in UNITS))

    def test_systemd_finds_nothing_to_say_about_them(self) -> None:
        self.write()
        self.assertEqual(self.verify(), (0, ""))

    def test_it_would_say_so(self) -> None:
        for instead, complaint in (
            (("WatchdogSec=15s", "WatchdogSecs=15s"), "'WatchdogSecs'"),
            (("TimeoutStopSec=30s", "TimeoutStopSec=soon"), "Failed to parse"),
            (("/bin/kill -HUP", "/nowhere/kill -HUP"), "is not executable"),
        ):
            self.write(instead)
            self.assertIn(complaint, self.verify()[1])

    def exposure(self) -> tuple[int, str]:
        service = "./micronode.service"
        return self.analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", service)

    def test_they_may_do_little(self) -> None:
        self.write()
        code, told = self.exposure()
        self.assertEqual(code, 0, [line for line in told.splitlines() if line[:1] in "✗→"])

    def test_each_restriction_counts(self) -> None:
        for line in ("PrivateUsers=yes\n", "SystemCallFilter=@system-service\n", "RestrictNamespaces=yes\n"):
            self.write((line, ""))
            self.assertNotEqual(self.exposure()[0], 0, line)

    def test_an_instance_is_the_same_service(self) -> None:
        """But for its name and its configuration."""
        one, many = settings("micronode.service"), settings("micronode@.service")
        many.remove("User=micronode-%i")
        differ = [pair for pair in zip(one, many, strict=True) if pair[0] != pair[1]]
        self.assertEqual([line.partition("=")[0] for line, _ in differ], ["Description", "ExecStart"])
        self.assertEqual(
            many[many.index(differ[1][1])], f"ExecStart={PROGRAM} run --config /etc/micronode/%i.toml"
        )

    def test_a_drain_has_its_time(self) -> None:
        drain = Config.from_mapping(tomllib.loads((CONF / "micronode.toml").read_text())).drain
        stop_s = float(value("micronode.service", "TimeoutStopSec").removesuffix("s"))
        self.assertGreaterEqual(stop_s, drain.grace + drain.deadline + 5)

    def test_what_a_restart_does_not_mend(self) -> None:
        codes = value("micronode.service", "RestartPreventExitStatus").split()
        self.assertEqual([int(code) for code in codes], [Exit.USAGE, Exit.CONFIG])

    def test_the_sockets_are_where_the_node_would_listen(self) -> None:
        for unit, plane in (("micronode.socket", "http"), ("micronode-oap.socket", "oap")):
            self.assertEqual(value(unit, "FileDescriptorName"), plane)
            self.assertEqual(value(unit, "Service"), "micronode.service")
            self.assertEqual(value(unit, "TriggerLimitBurst"), value(UNITS[2], "TriggerLimitBurst"))
            self.assertEqual(value(unit, "ListenStream"), getattr(Config(), plane).listen)


#: Nothing is waited for, and there are no owners.
_TOML = """
[drain]
grace = "{grace}"
[owners.index]
url = "{owner}"
[owners.storage]
url = "unix:/nowhere/storage"
[log]
format = "json"
"""
#: Only for the test's eyes: there is no journal.
_LOG = "[Service]\nStandardOutput=append:/run/node.log\nStandardError=inherit\n"


_SOCKETS = '[http]\nlisten = "systemd:http"\n[oap]\nlisten = "systemd:oap"\n'
#: Calls without a pause until it is told to stop, and prints what became of them.
_CALLER = """
import http.client, os, urllib.error, urllib.request
answered = refused = closed = others = 0
while not os.path.exists("/run/enough"):
    try:
        urllib.request.urlopen("http://127.0.0.1:5310/app/search?q=x", timeout=20)
    except urllib.error.HTTPError as answer:
        answered += answer.code == 503
        others += answer.code != 503
    except (urllib.error.URLError, ConnectionError, http.client.RemoteDisconnected) as error:
        if "refused" in str(error):
            refused += 1
        else:
            closed += 1
print(f"answered {answered}, refused {refused}, closed {closed}, others {others}")
"""
#: Calls ten times a second on a connection that it keeps as long as the node lets it, and prints how many
#: calls were lost on one that had served before.
_KEEPER = """
import http.client, os, time
caller, kept, served, lost = http.client.HTTPConnection("127.0.0.1", 5310, timeout=20), False, 0, 0
while not os.path.exists("/run/enough"):
    try:
        caller.request("GET", "/app/search?q=x")
        answer = caller.getresponse()
        answer.read()
        served += answer.status == 503
        kept = not answer.will_close
    except (ConnectionError, http.client.HTTPException):
        lost += kept
        caller.close()
        kept = False
    time.sleep(0.1)
print(f"served {served}, lost {lost}")
"""
#: Prints how the first caller begins.
_TLS_OWNER = """
import socket
listener = socket.create_server(("127.0.0.1", 1443))
listener.settimeout(20)
print("listening", flush=True)
print(listener.accept()[0].recv(3).hex())
"""


class UnitTestCase(SynchronousTestCase):
    """Boots a systemd of the test's own, with the units as they are."""

    SERVICE = "micronode.service"

    def boot(
        self,
        toml: str = "",
        *,
        grace: str = "0s",
        owner: str = "unix:/nowhere/index",
        drop_in: str = "",
        **files: str,
    ) -> Manager:
        units = {f"/etc/systemd/system/{name}": (CONF / name).read_text() for name in UNITS}
        more = {
            "/etc/micronode/micronode.toml": _TOML.format(grace=grace, owner=owner) + toml,
            "/etc/systemd/system/micronode@.service.d/log.conf": _LOG,
            "/etc/systemd/system/micronode.service.d/log.conf": _LOG,
            "/etc/systemd/system/micronode.service.d/test.conf": drop_in,
        }
        manager = Manager({**program(), **units, **more, **files})
        self.addCleanup(manager.kill)
        return manager

    def log(self, manager: Manager) -> str:
        return manager.run("cat", "/run/node.log", check=False)

    def get(self, manager: Manager, path: str, port: int = 5311) -> str:
        return manager.run("curl", "-sS", "--max-time", "20", f"http://127.0.0.1:{port}{path}")

    def sha(self, manager: Manager) -> str:
        found = re.search(r'"config_sha": ?"([^"]+)"', self.get(manager, "/version"))
        assert found is not None
        return found[1]

    def status(self, manager: Manager, name: str) -> int:
        """Return a number, in hexadecimal or decimal, of /proc/PID/status."""
        pid = manager.show(self.SERVICE, "MainPID")
        found = re.search(rf"^{name}:\s+(\w+)", manager.run("cat", f"/proc/{pid}/status"), re.M)
        assert found is not None
        return int(found[1], 16)


class ServiceUnitTests(UnitTestCase):
    """Without sockets of systemd."""

    def test_started_is_ready(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", self.SERVICE)
        self.assertIn('"ready":true', self.get(manager, "/readyz"))
        self.assertIn("owner_unavailable", self.get(manager, "/app/search?q=x", 5310))
        self.assertTrue(manager.show(self.SERVICE, "StatusText").startswith("running; calls in flight: 0"))

    def test_it_has_no_rights(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", self.SERVICE)
        self.assertGreater(self.status(manager, "Uid"), 0)
        for name, expected in (("CapEff", 0), ("CapBnd", 0), ("NoNewPrivs", 1), ("Seccomp", 2)):
            self.assertEqual(self.status(manager, name), expected, name)

    def test_stopped_in_order(self) -> None:
        manager = self.boot(grace="4s")
        manager.run("systemctl", "start", self.SERVICE)
        manager.run("systemctl", "stop", "--no-block", self.SERVICE)
        eventually(lambda: manager.show(self.SERVICE, "StatusText").startswith("draining"))
        self.assertEqual(manager.show(self.SERVICE, "ActiveState"), "deactivating")
        eventually(lambda: manager.show(self.SERVICE, "ActiveState") == "inactive")
        self.assertEqual(manager.show(self.SERVICE, "Result"), "success")
        self.assertIn('"state":"stopped"', self.log(manager))

    def test_a_drain_longer_than_the_unit_gives(self) -> None:
        manager = self.boot(grace="3s", drop_in="[Service]\nTimeoutStopSec=1s\n")
        manager.run("systemctl", "start", self.SERVICE)
        manager.run("systemctl", "stop", self.SERVICE)
        self.assertEqual(manager.show(self.SERVICE, "Result"), "success")
        self.assertIn('"state":"stopped"', self.log(manager))

    def test_reloaded(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", self.SERVICE)
        pid, sha = manager.show(self.SERVICE, "MainPID"), self.sha(manager)
        manager.run("sh", "-c", "printf '[limits]\\nmax_inflight = 7\\n' >>/etc/micronode/micronode.toml")
        manager.run("systemctl", "reload", self.SERVICE)
        eventually(lambda: self.sha(manager) != sha, lambda: self.log(manager))
        eventually(lambda: manager.show(self.SERVICE, "ActiveState") == "active")
        self.assertEqual(manager.show(self.SERVICE, "MainPID"), pid)

    def test_a_reload_that_is_refused(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", self.SERVICE)
        sha = self.sha(manager)
        manager.run("sh", "-c", "echo typo = >>/etc/micronode/micronode.toml")
        manager.run("systemctl", "reload", self.SERVICE)
        eventually(lambda: "config_refused" in self.log(manager), lambda: self.log(manager))
        eventually(lambda: manager.show(self.SERVICE, "SubState") == "running")
        self.assertEqual(self.sha(manager), sha)

    def test_a_configuration_that_is_refused_is_not_tried_again(self) -> None:
        manager = self.boot('[http]\nlisten = "0.0.0.0:80"\n')
        manager.ask("start", self.SERVICE)
        self.assertEqual(manager.show(self.SERVICE, "ActiveState"), "failed")
        self.assertEqual(manager.show(self.SERVICE, "ExecMainStatus"), "78")
        self.assertEqual(manager.show(self.SERVICE, "NRestarts"), "0")
        self.assertIn("/etc/micronode/micronode.toml:11: http.listen", self.log(manager))

    def test_a_configuration_that_only_root_can_read(self) -> None:
        manager = self.boot()
        manager.run("chmod", "600", "/etc/micronode/micronode.toml")
        manager.ask("start", self.SERVICE)
        self.assertEqual(manager.show(self.SERVICE, "ExecMainStatus"), "78")
        self.assertRegex(self.log(manager), "/etc/micronode/micronode.toml.*[Pp]ermission")

    def test_a_blocked_reactor_is_restarted(self) -> None:
        manager = self.boot(drop_in="[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\nRestartSec=1s\n")
        manager.run("systemctl", "start", self.SERVICE)
        pid = manager.show(self.SERVICE, "MainPID")
        # One that turns is left alone, for longer than it may be silent.
        manager.run("sleep", "3")
        self.assertEqual(manager.show(self.SERVICE, "NRestarts"), "0")
        manager.run("kill", "-STOP", pid)
        eventually(lambda: manager.show(self.SERVICE, "Result") == "watchdog")
        eventually(lambda: manager.show(self.SERVICE, "SubState") == "running")
        self.assertEqual(manager.show(self.SERVICE, "NRestarts"), "1")
        self.assertNotIn(manager.show(self.SERVICE, "MainPID"), ("0", pid))
        self.assertIn('"ready":true', self.get(manager, "/readyz"))

    def test_owners_over_tls(self) -> None:
        """They need memory that is written and run, which hardening likes to deny."""
        manager = self.boot(owner="https://127.0.0.1:1443")
        owner = manager.start(PYTHON, "-c", _TLS_OWNER)
        assert owner.stdout is not None
        self.assertEqual(owner.stdout.readline(), "listening\n")
        manager.run("systemctl", "start", self.SERVICE)
        # The type of a handshake's record, and its version.
        self.assertEqual(owner.communicate(timeout=PATIENCE_S)[0], "160301\n")

    def test_below_twistd(self) -> None:
        """By the line that the unit has for it."""
        (line,) = re.findall(r"^# (ExecStart=\S+twistd .+)$", (CONF / self.SERVICE).read_text(), re.M)
        manager = self.boot(drop_in=f"[Service]\nExecStart=\n{line}\n")
        manager.run("systemctl", "start", self.SERVICE)
        self.assertIn('"ready":true', self.get(manager, "/readyz"))
        manager.run("systemctl", "stop", self.SERVICE)
        self.assertEqual(manager.show(self.SERVICE, "Result"), "success")
        self.assertNotIn("Traceback", self.log(manager))

    def test_instances(self) -> None:
        ports = {"blue": 6310, "green": 6320}
        configs = {
            f"/etc/micronode/{name}.toml": _TOML.format(grace="0s", owner="unix:/nowhere/index")
            + f'[http]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{port + 1}"\n'
            '[oap]\nlisten = "off"\n'
            for name, port in ports.items()
        }
        manager = self.boot(**configs)
        manager.run("systemctl", "start", *(f"micronode@{name}.service" for name in ports))
        for port in ports.values():
            self.assertIn('"ready":true', self.get(manager, "/readyz", port + 1))
        users = {
            manager.run("stat", "-c", "%u", f"/proc/{manager.show(f'micronode@{name}', 'MainPID')}")
            for name in ports
        }
        self.assertEqual(len(users), 2)

    def test_a_configuration_that_is_roots_alone(self) -> None:
        """As a credential: what keys will be."""
        manager = self.boot(
            drop_in="[Service]\nLoadCredential=micronode.toml:/etc/micronode/micronode.toml\nExecStart=\n"
            f"ExecStart={PROGRAM} run --config %d/micronode.toml\n"
        )
        manager.run("chmod", "600", "/etc/micronode/micronode.toml")
        manager.run("systemctl", "start", self.SERVICE)
        self.assertIn('"ready":true', self.get(manager, "/readyz"))


class SocketUnitTests(UnitTestCase):
    """With the sockets that systemd holds."""

    SOCKETS = ("micronode.socket", "micronode-oap.socket")

    def boot(self, toml: str = "", **settings: str) -> Manager:
        return super().boot(_SOCKETS + toml, **settings)

    def test_the_first_caller_starts_it(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", *self.SOCKETS)
        self.assertEqual(manager.show(self.SERVICE, "ActiveState"), "inactive")
        self.assertIn("owner_unavailable", self.get(manager, "/app/search?q=x", 5310))
        self.assertEqual(manager.show(self.SERVICE, "ActiveState"), "active")
        log = self.log(manager)
        self.assertIn('"listener":"http","address":"127.0.0.1:5310"', log)
        self.assertIn('"listener":"oap","address":"127.0.0.1:5312"', log)
        self.assertNotIn("sockets_unused", log)

    def test_no_caller_is_refused_while_it_restarts(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", *self.SOCKETS, self.SERVICE)
        caller = manager.start(PYTHON, "-c", _CALLER)
        for _ in range(3):
            pid = manager.show(self.SERVICE, "MainPID")
            manager.run("systemctl", "restart", self.SERVICE)
            self.assertNotIn(manager.show(self.SERVICE, "MainPID"), ("0", pid))
        manager.run("touch", "/run/enough")
        told, _ = caller.communicate(timeout=PATIENCE_S)
        found = re.fullmatch(r"answered (\d+), refused 0, closed (\d+), others 0\n", told)
        assert found is not None, told
        # One that waited through a restart, at least; how many more depends on the machine.
        self.assertGreater(int(found[1]), 0)
        # An idle connection that is closed may be tried again; each time the one that was just accepted.
        self.assertLessEqual(int(found[2]), 3)

    def test_no_call_on_a_kept_connection_is_lost(self) -> None:
        manager = self.boot(grace="1s")
        manager.run("systemctl", "start", *self.SOCKETS, self.SERVICE)
        caller = manager.start(PYTHON, "-c", _KEEPER)
        for _ in range(2):
            manager.run("sleep", "0.5")
            manager.run("systemctl", "restart", self.SERVICE)
        manager.run("touch", "/run/enough")
        told, _ = caller.communicate(timeout=PATIENCE_S)
        found = re.fullmatch(r"served (\d+), lost 0\n", told)
        assert found is not None, told
        self.assertGreater(int(found[1]), 0)

    def test_a_caller_does_not_start_what_cannot_start_for_ever(self) -> None:
        """Who is not served stays in the backlog, and would be one more reason to start it each time."""
        # However slow this machine is in starting it.
        slowly = {
            f"/etc/systemd/system/{name}.d/slowly.conf": "[Socket]\nTriggerLimitIntervalSec=1h\n"
            for name in self.SOCKETS
        }
        manager = self.boot("typo = 1\n", **slowly)
        manager.run("systemctl", "start", *self.SOCKETS)
        manager.start("curl", "-s", "--max-time", "60", "http://127.0.0.1:5310/app/search?q=x")
        eventually(lambda: manager.show(self.SOCKETS[0], "Result") == "trigger-limit-hit")
        starts = self.log(manager).count("unknown key 'typo'")
        self.assertEqual(starts, int(value(self.SOCKETS[0], "TriggerLimitBurst")))
        # Longer than RestartSec.
        manager.run("sleep", "3")
        self.assertEqual(self.log(manager).count("unknown key 'typo'"), starts)
        self.assertEqual(manager.show(self.SERVICE, "ActiveState"), "failed")
        # By the commands of the page.
        manager.run("sed", "-i", "/^typo/d", "/etc/micronode/micronode.toml")
        (again,) = re.findall(r"(?m)^   \$ (systemctl reset-failed .+)$", PAGE.read_text("utf-8"))
        manager.run("sh", "-c", again)
        self.assertIn("owner_unavailable", self.get(manager, "/app/search?q=x", 5310))

    def test_a_unix_socket_stays_as_systemd_made_it(self) -> None:
        listen = "[Socket]\nListenStream=\nListenStream=/run/micronode-http.sock\nSocketMode=0666\n"
        manager = self.boot(**{"/etc/systemd/system/micronode.socket.d/unix.conf": listen})
        manager.run("systemctl", "start", *self.SOCKETS, self.SERVICE)
        for _ in range(2):
            found = manager.run(
                *("curl", "-sS", "--max-time", "20", "--unix-socket", "/run/micronode-http.sock"),
                "http://localhost/app/search?q=x",
            )
            self.assertIn("owner_unavailable", found)
            self.assertEqual(manager.run("stat", "-c", "%a %u", "/run/micronode-http.sock"), "666 0\n")
            manager.run("systemctl", "restart", self.SERVICE)

    def test_without_its_sockets(self) -> None:
        manager = self.boot()
        manager.run("systemctl", "start", "micronode-oap.socket")
        manager.ask("start", self.SERVICE)
        self.assertEqual(manager.show(self.SERVICE, "ExecMainStatus"), "78")
        self.assertIn(
            'http.listen = "systemd:http": the process was started with no socket of this name (only oap)',
            self.log(manager),
        )


class UnusedSocketTests(UnitTestCase):
    def test_is_warned_of(self) -> None:
        manager = self.boot('[oap]\nlisten = "systemd:oap"\n[http]\nlisten = "127.0.0.1:0"\n')
        manager.run("systemctl", "start", *SocketUnitTests.SOCKETS, self.SERVICE)
        self.assertIn("no listener is systemd:NAME for http", self.log(manager))
