"""A real node behind real sockets, a caller that is nothing but bytes, and what a process may not do.

For tests of what a hostile caller gets: the node and its owners are processes, so that memory, descriptors
and the log are the node's alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.schema import OWNER_NAMES
from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import EVENT, Control, encode_frame
from tests.cli.processes import PATIENCE_S, Program, ask, eventually
from tests.support.oap import SeenFrame, hello, start

#: Idle connections to owners are kept for some seconds, so that a few descriptors more are no leak.
_POOLED = 6
#: What a log never has, whatever callers do.
_BAD_NEWS = re.compile(r"Traceback|Unhandled|\"level\":\s*\"(?:error|critical)\"")


class LiveCaller:
    """One connection to a node: sends any bytes, reads frames."""

    def __init__(self, address: str, *, receive_bytes: int | None = None) -> None:
        """:param receive_bytes: how much the kernel takes for it, about; None: as usual."""
        kind, _, where = address.partition(":")
        if kind == "unix":
            self.socket = socket.socket(socket.AF_UNIX)
            self._where: Any = where
        else:
            self.socket = socket.socket()
            self._where = (kind, int(where))
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(self._where)
        self._decoder = FrameDecoder()
        self._frames: list[SeenFrame] = []
        #: What it read, in bytes.
        self.read_bytes = 0
        #: Whether the node has closed, or reset, the connection.
        self.ended = False

    def say(self, *pieces: bytes) -> None:
        """Send bytes; for those that the node reads."""
        self.socket.sendall(b"".join(pieces))

    def push(self, data: bytes, *, quiet_s: float = 0.3) -> int:
        """Send as much of *data* as the node takes until it takes nothing for *quiet_s*; read nothing.

        :return: how many bytes went.
        """
        view, sent = memoryview(data), 0
        with self._unblocked():
            while sent < len(data) and select.select([], [self.socket], [], quiet_s)[1]:
                try:
                    sent += self.socket.send(view[sent : sent + 65_536])
                except OSError:
                    break
        return sent

    def flood(self, data: bytes) -> int:
        """Send *data*, reading meanwhile, until all of it is sent or the connection is over.

        :return: how many bytes went.
        """
        view, sent = memoryview(data), 0
        with self._unblocked():
            while sent < len(data) and not self.ended:
                ready = select.select([self.socket], [self.socket], [], PATIENCE_S)
                assert ready != ([], [], []), "the node neither reads nor writes"
                if ready[0]:
                    self._read()
                if ready[1]:
                    try:
                        sent += self.socket.send(view[sent : sent + 65_536])
                    except BlockingIOError:
                        pass
                    except OSError:
                        break
        return sent

    @contextlib.contextmanager
    def _unblocked(self) -> Any:
        self.socket.setblocking(False)
        try:
            yield
        finally:
            self.socket.settimeout(PATIENCE_S)

    def _read(self) -> None:
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
        self.read_bytes += len(data)
        for flags, code, app, tenant, corr_id, _, payload in self._decoder.feed(data):
            assert payload is not None, "the node sent a frame over its limit"
            self._frames.append(SeenFrame(flags, code, app, tenant, corr_id, payload))

    def hear(self) -> SeenFrame | None:
        """Return the next frame; None at the end."""
        while not self._frames and not self.ended:
            self._read()
        return self._frames.pop(0) if self._frames else None

    def until(self, wanted: Callable[[SeenFrame], object]) -> list[SeenFrame]:
        """Return the frames up to the first that is *wanted*, that one included."""
        seen: list[SeenFrame] = []
        while not seen or not wanted(seen[-1]):
            frame = self.hear()
            assert frame is not None, f"the connection ended after {seen[-3:]}"
            seen.append(frame)
        return seen

    def rest(self) -> list[SeenFrame]:
        """Return all frames up to the end of the connection."""
        seen = []
        while (frame := self.hear()) is not None:
            seen.append(frame)
        assert not self._decoder.mid_frame, "the node sent half a frame"
        return seen

    def greet(self, **members: Any) -> dict[str, Any]:
        """Say HELLO, and return the reply."""
        self.say(hello(**members))
        frame = self.hear()
        assert frame is not None
        return frame.json  # type: ignore[no-any-return]

    def end_of(self, corr_id: int) -> SeenFrame:
        """Return the terminal frame of a stream; what comes before it is dropped."""
        return self.until(lambda frame: frame.corr_id == corr_id and frame.ends)[-1]

    def settle(self, token: bytes = b"settle") -> list[SeenFrame]:
        """PING, and return the frames that came before its echo."""
        self.say(encode_frame(EVENT, Control.PING, 0, 0, token))
        return self.until(lambda frame: frame.app == 0 and frame.payload == token)[:-1]

    def reset(self) -> None:
        """Leave as a machine does that has lost the connection."""
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Leave."""
        self.socket.close()


class LiveNode:
    """`micronode run` and `micronode owners` with a small corpus, and a connection that nothing may disturb.

    :ivar bystander: that connection.
    """

    def __init__(
        self, case: SynchronousTestCase, transport: str, *settings: str, stalled: tuple[str, ...] = ()
    ) -> None:
        """:param transport: ``tcp`` or ``unix``.
        :param settings: ``section.key=value``.
        :param stalled: names of owners that take a connection and never a byte of it.
        """
        self._case = case
        # Not below the folder of the run: a socket's path holds 107 bytes.
        folder = tempfile.mkdtemp()
        case.addCleanup(shutil.rmtree, folder)
        (Path(folder) / "corpus").mkdir()
        (Path(folder) / "corpus" / "hello.md").write_text("# Hello\n\nhello world\n")
        owners = None
        if set(stalled) != {"index", "storage"}:
            where = [f"--{name}=unix:{folder}/real-{name}" for name in OWNER_NAMES]
            owners = Program(case, "owners", *where, "--corpus", f"{folder}/corpus")
        sets = [f"owners.{name}.url=unix:{folder}/{name}" for name in ("index", "mailbox", "storage")]
        for name in ("index", "mailbox", "storage"):
            if name in stalled:
                listener = socket.socket(socket.AF_UNIX)
                case.addCleanup(listener.close)
                listener.bind(f"{folder}/{name}")
                listener.listen(512)
            else:
                os.symlink(f"{folder}/real-{name}", f"{folder}/{name}")
        sets += ["facets.media.enabled=true", "drain.grace=0s", "drain.deadline=2s", *settings]
        # The same setting twice is refused; the test's own counts.
        sets = list({each.partition("=")[0]: each for each in sets}.values())
        listen = (
            (f"unix:{folder}/oap", f"unix:{folder}/http") if transport == "unix" else ("127.0.0.1:0",) * 2
        )
        words = ["--admin", "127.0.0.1:0", "--oap", listen[0], "--http", listen[1]]
        self.program = Program(case, "run", *words, *(word for each in sets for word in ("--set", each)))
        self.oap, self.http, self.admin = (
            self.program.until_complaint(rf'"listener":"{name}","address":"([^"]+)"')[1]
            for name in ("oap", "http", "admin")
        )
        self.program.until_complaint('"running"')
        if owners is not None:
            owners.until_complaint('"ready"')
        self._greeted = 0
        self.bystander = self.greeted()
        self._asked = 0
        self.check_bystander()
        self._descriptors = self.descriptors()

    def caller(self, **settings: int) -> LiveCaller:
        """Return a new connection; nothing was said."""
        caller = LiveCaller(self.oap, **settings)
        self._case.addCleanup(caller.close)
        return caller

    def greeted(self, **members: Any) -> LiveCaller:
        """Return a new connection on which HELLO was said and answered."""
        caller = self.caller()
        caller.greet(**members)
        return caller

    def check_bystander(self) -> None:
        """A call on the old connection, and a PING, get their answers."""
        self._asked += 1
        self.bystander.say(start(self._asked, op="fly"))
        answer = self.bystander.end_of(self._asked)
        self._case.assertEqual(answer.json["code"], "unknown_op")
        self._case.assertEqual(self.bystander.settle(b"bystander"), [])

    def while_others_talk(self, caller: LiveCaller) -> None:
        """Let the bystander be served until there is something that *caller* may read."""
        while not select.select([caller.socket], [], [], 0.25)[0]:
            self.check_bystander()

    def metric(self, name: str) -> float:
        """Return the value of one series, as /metrics has it; 0.0 if it is not there."""
        _, _, body = ask(f"http://{self.admin}/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", body.decode(), re.M)
        return float(found[1]) if found else 0.0

    def descriptors(self) -> int:
        """Return how many descriptors the node has open."""
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))

    def memory(self, peak: bool = False) -> int:
        """Return the node's resident memory in bytes; with *peak* the most since :meth:`forget_peak`."""
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        found = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB$", status, re.M)
        assert found is not None
        return int(found[1]) << 10

    def forget_peak(self) -> int:
        """Let the peak begin anew; return what is resident now."""
        Path(f"/proc/{self.program.pid}/clear_refs").write_text("5")
        return self.memory()

    def try_all(self, *steps: Callable[[], None]) -> None:
        """Do *steps*, one after the other, each with its :meth:`check`; then :meth:`stop`."""
        for step in steps:
            with self._case.subTest(step=step.__name__):
                step()
                self.check()
        self.stop()

    def check(self) -> None:
        """Everybody else has left: the bystander is served, nothing was kept, nothing bad is in the log."""
        self.check_bystander()
        eventually(lambda: self.metric("oap_streams") == 0, lambda: "streams are left")
        eventually(lambda: self.metric("oap_connections") <= 1, lambda: "connections are left")
        eventually(
            lambda: self.descriptors() <= self._descriptors + _POOLED,
            lambda: f"{self.descriptors()} descriptors, {self._descriptors} before",
        )
        self._check_log()

    def stop(self) -> None:
        """End the node; it must end well, having said nothing bad."""
        self.bystander.close()
        if self.program.process.poll() is None:
            self.program.kill(signal.SIGTERM)
        self._case.assertEqual(self.program.end(), 0)
        self._check_log()

    def _check_log(self) -> None:
        text = self.program.complained
        found = _BAD_NEWS.search(text)
        if found is not None:
            self._case.fail(f"the node's log: {text[max(0, found.start() - 500) : found.start() + 2_000]}")
