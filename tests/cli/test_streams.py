"""Standard streams that take no more: what is lost is told once, and nothing fails after that."""

import errno
import io
import json
import os
import subprocess
import sys

from micronode.cli.exits import CommandError
from micronode.cli.streams import discard, open_missing, settle, show
from tests.cli.support import CommandTestCase, FullStream

FULL = "micronode: cannot write to standard output: no space\n"


class OpenMissingTests(CommandTestCase):
    def test_what_is_there_stays(self) -> None:
        before = sys.stdin, sys.stdout, sys.stderr, [os.fstat(number) for number in range(3)]
        open_missing()
        after = sys.stdin, sys.stdout, sys.stderr, [os.fstat(number) for number in range(3)]
        self.assertEqual(before, after)

    def test_all_that_is_not(self) -> None:
        """Descriptors are a matter of the whole process; so look at one of its own."""
        script = (
            "import json, os, sys; from micronode.cli.streams import open_missing\n"
            "report = int(sys.argv[1]); open_missing()\n"
            "read = sys.stdin.read(); print('caf\u00e9'); print('x', file=sys.__stderr__, flush=True)\n"
            "sys.stdout.flush(); os.write(1, b'x'); os.write(2, b'x')\n"
            "paths = [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]\n"
            "kept = [os.get_inheritable(number) for number in range(3)]\n"
            "os.write(report, json.dumps([read, paths, kept]).encode())\n"
        )
        for gone in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
            near, far = os.pipe()
            with os.fdopen(near) as report:
                ended = subprocess.run(
                    ["/bin/sh", "-c", f'exec "$@" {gone}', "sh", sys.executable, "-c", script, str(far)],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[far],
                    timeout=30,
                    check=False,
                )
                os.close(far)
                self.assertEqual(ended.returncode, 0, gone)
                self.assertEqual(json.load(report), ["", ["/dev/null"] * 3, [True] * 3], gone)


class ShowTests(CommandTestCase):
    def test_is_there_at_once(self) -> None:
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        with os.fdopen(write, "w") as stream:
            self.patch(sys, "stdout", stream)
            show("a line")
            self.assertEqual(os.read(read, 100), b"a line\n")

    def test_a_full_disk_is_a_failure(self) -> None:
        self.patch(sys, "stdout", FullStream())
        error = self.assertRaises(CommandError, show, "x")
        self.assertEqual((error.code, error.lines), (1, (FULL[len("micronode: ") : -1],)))

    def test_a_reader_that_has_gone_is_not_talked_about(self) -> None:
        self.patch(sys, "stdout", FullStream(errno.EPIPE))
        error = self.assertRaises(CommandError, show, "x")
        self.assertEqual((error.code, error.lines), (1, ()))


class DiscardTests(CommandTestCase):
    def test_what_is_held_goes_nowhere(self) -> None:
        read, write = os.pipe()
        os.close(read)
        stream = os.fdopen(write, "w")
        stream.write("x")
        self.assertRaises(BrokenPipeError, stream.flush)
        discard(stream)
        stream.close()

    def test_streams_without_descriptor(self) -> None:
        closed = io.StringIO()
        closed.close()
        for stream in (io.StringIO(), closed):
            discard(stream)


class SettleTests(CommandTestCase):
    def test_nothing_held(self) -> None:
        self.assertEqual([settle(code) for code in (0, 1, 64)], [0, 1, 64])
        self.assertEqual(self.complained, "")

    def test_lost_output_is_a_failure_unless_it_was_one(self) -> None:
        self.patch(sys, "stdout", FullStream())
        sys.stdout.write("x")
        self.assertEqual((settle(0), settle(64)), (1, 64))
        self.assertEqual(self.complained, FULL * 2)

    def test_a_lost_log_is_none(self) -> None:
        self.patch(sys, "stderr", FullStream())
        sys.stderr.write("x")
        self.assertEqual(settle(0), 0)

    def test_streams_that_are_closed(self) -> None:
        stream = io.StringIO()
        stream.close()
        self.patch(sys, "stdout", stream)
        self.patch(sys, "stderr", stream)
        self.assertEqual((settle(0), settle(69)), (0, 69))

    def test_the_interpreter_has_nothing_left_to_fail_on(self) -> None:
        """What Python makes of a stream that fails when it ends is 120; so see how a process ends."""
        script = (
            "import sys; from micronode.cli.streams import settle\n"
            "for stream in sys.stdout, sys.stderr: stream.write('x')\n"
            "sys.exit(settle(0))"
        )
        environ = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
        with open("/dev/full", "w") as full:
            ended = subprocess.run(
                [sys.executable, "-c", script],
                env=environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stdout=full,
                stderr=full,
                timeout=30,
                check=False,
            )
        self.assertEqual(ended.returncode, 1)
