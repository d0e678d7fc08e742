"""A service manager of the test's own: systemd as process 1 of namespaces, in a file system of its own.

The units of ``conf/`` run in it as they are, hardening included, on a machine that need not run systemd.
It sees this machine's ``/usr``, the interpreter and the checkout, all read-only; its network is a loopback
of its own, so that the units' ports are free; when its process 1 is killed, nothing of it is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.cli.processes import PATIENCE_S, ROOT, children_of, eventually
from tests.support.tools import missing

SYSTEMD = "/usr/lib/systemd/systemd"
#: Where a unit's program is, and what it runs.
HOME = "/opt/micronode"
#: Targets that units of conf/ and of systemd itself depend on; they are empty here.
_TARGETS = ("sysinit", "basic", "sockets", "shutdown", "umount", "network", "multi-user", "up")
#: What the programs of the new root read in /etc.
_ETC = ("passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")

#: Makes the root, and goes on in it. $1: a folder, its mount point. $2: folder with files that are to be in
#: it. The other arguments are pairs: what is seen there, and where.
_BOOT = r"""
set -eu
root=$1 files=$2; shift 2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cp -a "$files/." "$root"
cd "$root"
mkdir -p usr dev proc sys run tmp var root old
for name in bin sbin lib lib32 lib64 libx32; do
    if [ -L /$name ]; then cp -a /$name .; elif [ -d /$name ]; then mkdir $name; set -- "$@" /$name /$name; fi
done
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t proc proc proc
# Limits of the machine's, which systemd would raise.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
for at in run tmp; do mount -t tmpfs -o mode=755 tmpfs $at; done
chmod 1777 tmp
set -- "$@" /usr /usr
while [ $# -gt 0 ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    mount -o remount,bind,ro ".$2"
    shift 2
done
pivot_root . old
umount -l /old
rmdir /old
# As everywhere where systemd runs: credentials are mounted beside a service, and seen by it.
mount --make-rshared /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other SYSTEMD_UNIT_PATH=/etc/systemd/system \
    SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_LOG_TARGET=null \
    /usr/lib/systemd/systemd --system --unit=up.target --show-status=no
"""

#: Puts itself into a cgroup of its own, $2, and runs the rest of its arguments in it. $1: where to mount.
_IN_CGROUP = r"""
set -eu
mount -t cgroup2 cgroup2 "$1"
mkdir "$1/$2"
echo $$ >"$1/$2/cgroup.procs"
umount "$1"
shift 2
exec "$@"
"""

#: Removes the cgroup $2, in which nothing runs any more. $1: where to mount.
_NO_CGROUP = r"""
set -eu
mount -t cgroup2 cgroup2 "$1"
[ ! -d "$1/$2" ] || find "$1/$2" -depth -type d -exec rmdir {} +
"""


class Manager:
    """One systemd, from its making to :meth:`kill`."""

    #: Why none can be run here, once that is known: nobody waits for it twice.
    _reason_against = ""

    def __init__(self, files: dict[str, str]) -> None:
        """:param files: text by absolute path, what is in the root beside what every root needs.
        :raises SkipTest: it cannot be run here.
        """
        if not os.access(SYSTEMD, os.X_OK):
            missing("systemd is not installed")
        if os.geteuid() != 0:
            raise SkipTest("a service manager of one's own needs root")
        if self._reason_against:
            raise SkipTest(self._reason_against)
        self._folder = Path(tempfile.mkdtemp())
        self._cgroup = f"micronode-test-{os.getpid()}-{self._folder.name}"
        tree = self._folder / "files"
        self._write(tree, files)
        self._root = self._folder / "root"
        self._root.mkdir()
        self._log = open(self._folder / "log", "w+b")  # noqa: SIM115
        inside = ["sh", "-c", _BOOT, "boot", str(self._root), str(tree), *_seen()]
        spaces = ("cgroup", "mount", "pid", "uts", "ipc", "net")
        apart = ["unshare", *(f"--{name}" for name in spaces), "--fork", "--kill-child", *inside]
        self._process = subprocess.Popen(
            self._at_cgroups(_IN_CGROUP, *apart),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            # Of ours nothing has been started by then: what fails up to there is for the machine to allow.
            self._pid = eventually(self._find, self.log)
            eventually(lambda: self.ask("is-system-running") == "running", self.log)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            type(self)._reason_against = f"no service manager can be run here: {error}"
            self.kill()
            raise SkipTest(self._reason_against) from None
        except BaseException:
            self.kill()
            raise

    @staticmethod
    def _write(tree: Path, files: dict[str, str]) -> None:
        for path, text in files.items():
            place = tree / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            place.chmod(0o755 if text.startswith("#!") else 0o644)
        units = tree / "etc" / "systemd" / "system"
        units.mkdir(parents=True, exist_ok=True)
        for name in _TARGETS:
            (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        for name in _ETC:
            source, target = Path("/etc", name), tree / "etc" / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.exists() and not target.exists():
                shutil.copy(source, target)
        (tree / "etc" / "machine-id").write_text(f"{'0123456789abcdef' * 2}\n")

    def _at_cgroups(self, script: str, *arguments: str) -> list[str]:
        """Return the command that runs *script* where cgroups can be mounted, seen by nobody else.

        It is killed with this process, however that ends.
        """
        words = ("sh", "-c", script, "cgroup", str(self._root), self._cgroup, *arguments)
        return ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", *words]

    def _find(self) -> int | None:
        """Return the pid of its process 1, once that is systemd."""
        if self._process.poll() is not None:
            raise AssertionError(f"no namespaces, or no cgroups: {self.log()}")
        for pid in children_of(self._process.pid):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(SYSTEMD):
                    return pid
        return None

    def log(self) -> str:
        """What its booting has said."""
        return (self._folder / "log").read_text("utf-8", "replace")

    def run(self, *command: str, check: bool = True) -> str:
        """Run *command* inside, to the end; return what it printed.

        :param check: it must succeed.
        """
        done = subprocess.run(
            self._inside(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode} {done.stdout} {done.stderr}\n{self.log()}")
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start *command* inside; it ends with the manager, if not by itself."""
        return subprocess.Popen(
            self._inside(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def _inside(self, *command: str) -> list[str]:
        return ["nsenter", "--all", "--target", str(self._pid), *command]

    def ask(self, *arguments: str) -> str:
        """Return what ``systemctl`` says, whatever its exit code."""
        return self.run("systemctl", *arguments, check=False).strip()

    def show(self, unit: str, name: str) -> str:
        """Return one property of *unit*."""
        return self.ask("show", "--value", f"--property={name}", unit)

    def kill(self) -> None:
        """End it, with everything that it runs."""
        for pid in children_of(self._process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._log.close()
        subprocess.run(
            self._at_cgroups(_NO_CGROUP),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        shutil.rmtree(self._folder)


def program() -> dict[str, str]:
    """Return the files that are ``micronode``, ``twistd`` and ``python`` in the new root: those of here."""
    python = f"{HOME}/python"
    path = ":".join([f"{HOME}/checkout", *(at for _, at in _packages())])
    start = (
        f"#!/bin/sh\nexport PYTHONPATH={path} LD_LIBRARY_PATH={python}/lib PYTHONDONTWRITEBYTECODE=1\n"
        f"exec {python}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    )
    twistd = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = sys.argv.pop(1); run()"
    return {
        f"{HOME}/bin/python": f'{start} "$@"\n',
        f"{HOME}/bin/micronode": f'{start} -m micronode "$@"\n',
        f"{HOME}/bin/twistd": f'{start} -c "{twistd}" twistd "$@"\n',
    }


def _packages() -> list[tuple[str, str]]:
    """Return the folders of installed packages, each with where it is seen."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [(folder, f"{HOME}/packages-{number}") for number, folder in enumerate(sorted(folders))]


def _seen() -> list[str]:
    pairs = [(sys.base_prefix, f"{HOME}/python"), (str(ROOT), f"{HOME}/checkout"), *_packages()]
    return [each for pair in pairs for each in pair]
