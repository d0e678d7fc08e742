"""``micronode owners``: the reference owner services as a process of their own.

Everything process-wide happens here: umask, the reactor, signals, inherited descriptors. The node
never imports this package.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TextIO

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import Cooperator, SchedulerStopped, deferLater
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from micronode.config.address import ListenAddress
from micronode.devowners.channel import OwnerFactory
from micronode.devowners.corpus import Corpus, Loaded, load
from micronode.devowners.exchange import Owner
from micronode.devowners.faultspec import Faults
from micronode.devowners.faulty import FaultyFactory
from micronode.devowners.files import FileCorpus
from micronode.devowners.listeners import Refusing, listen, refuse, url
from micronode.devowners.log import JSONLog
from micronode.devowners.options import Options, StartError, parse_options
from micronode.devowners.packages import PackageCorpus
from micronode.devowners.parent import ParentWatch
from micronode.devowners.services import Services

#: What is answered at the very end gets so long to be sent.
_LEAVE_S: Final = 0.1


def main(argv: Sequence[str]) -> int:
    """Run the owners until SIGTERM, SIGINT or the end of ``--parent-fd``.

    :param argv: the options, without the program's name.
    :return: the exit code: 0, 64 usage, 69 cannot serve, 70 our defect, 78 corpus or data refused.
    """
    try:
        options = parse_options(argv)
    except StartError as refused:
        sys.stderr.write(f"micronode owners: {refused}\n")
        return refused.exit_code
    except SystemExit as printed:  # argparse has shown its help
        return int(printed.code or 0)
    log = JSONLog(sys.stderr, options.log_level)
    globalLogBeginner.beginLoggingTo([log], discardBuffer=True, redirectStandardIO=False)
    # Sockets, folders and databases are this user's alone.
    os.umask(0o077)
    try:
        return OwnersProcess(options, log).run()
    except StartError as refused:
        _tell(sys.stderr, log, refused)
        return refused.exit_code


class OwnersProcess:
    """The owners, from their first listener to the last file closed.

    :raises StartError: from :meth:`run`, for whatever keeps the process from serving.
    """

    def __init__(self, options: Options, log: JSONLog) -> None:
        from twisted.internet import reactor

        self._options = options
        self._log = log
        self._reactor: Any = reactor
        self._refused: StartError | None = None
        self._exit_code = os.EX_OK
        self._is_stopping = False
        self._closers: list[Callable[[], object]] = []
        self._cooperator = Cooperator(scheduler=partial(reactor.callLater, 0))

    def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        if self._options.parent_fd is not None:
            ParentWatch(self._reactor, self._options.parent_fd, self._parent_gone)
        try:
            self._start()
            self._reactor.addSystemEventTrigger("before", "shutdown", self._note_stop)
            self._reactor.run()
        finally:
            for close in reversed(self._closers):
                close()
        if self._refused is not None:
            raise self._refused
        return self._exit_code

    def _start(self) -> None:
        """Open, bind, and begin to load."""
        options = self._options
        corpus: Corpus = FileCorpus(options.corpus) if options.corpus is not None else PackageCorpus()
        services = Services(options, self._reactor, self._log, self._in_steps)
        self._closers += [services.close, self._cooperator.stop]
        owners = services.owners
        urls = {name: self._bind(owners[name], address) for name, address in options.addresses.items()}
        self._reactor.addSystemEventTrigger("before", "shutdown", self._take_leave, owners.values())
        result = Loaded()
        began_s = self._reactor.seconds()

        def loaded(_iterator: object) -> None:
            if not result.documents:
                left_out = ", ".join(f"{reason} {count}" for reason, count in corpus.skipped.items())
                raise StartError(
                    os.EX_CONFIG, f"no document in the corpus ({corpus.name}) could be used: {left_out}"
                )
            for owner in owners.values():
                owner.is_ready = True
            if options.faults:
                self._log.warn("faults", owners=list(options.faults), seed=options.fault_seed)
            self._log.info(
                "ready",
                **urls,
                corpus=corpus.name,
                **attrs.asdict(result),
                skipped=dict(corpus.skipped),
                load_ms=round((self._reactor.seconds() - began_s) * 1000),
            )
            self._report(urls)

        loading = self._cooperator.coiterate(load(corpus, services.index, services.store, result))
        loading.addCallback(loaded).addErrback(self._failed)

    def _bind(self, owner: Owner, address: ListenAddress) -> str:
        """Listen for *owner* until the process stops; return its URL."""
        options, flag = self._options, f"--{owner.name}"
        faults = Faults(options.faults.get(owner.name, ()), f"{options.fault_seed}/{owner.name}")
        port: IListeningPort | Refusing
        if faults.refuses_all:
            port = refuse(flag, address)
        elif faults.faults:
            factory = FaultyFactory(
                owner, self._log, self._reactor, faults, befalls_health=options.fault_health
            )
            port = listen(self._reactor, flag, address, factory)
        else:
            port = listen(self._reactor, flag, address, OwnerFactory(owner, self._log, self._reactor))
        self._reactor.addSystemEventTrigger("before", "shutdown", port.stopListening)
        return url(address, port)

    def _report(self, urls: dict[str, str]) -> None:
        """Tell the parent where we are."""
        if self._options.report_fd is not None:
            # The parent may have gone; --parent-fd is there to notice.
            with suppress(OSError), open(self._options.report_fd, "wb", buffering=0) as pipe:
                pipe.write(json.dumps(urls).encode() + b"\n")

    def _in_steps(self, steps: Iterator[None]) -> None:
        self._cooperator.coiterate(steps).addErrback(self._sweep_failed)

    def _sweep_failed(self, failure: Failure) -> None:
        # What was not swept is swept at the next start.
        if not failure.check(SchedulerStopped) and isinstance(failure.value, Exception):
            self._log.failed("sweep", failure.value)

    def _failed(self, failure: Failure) -> None:
        """Loading did not work: stop."""
        if failure.check(SchedulerStopped):
            return
        if isinstance(failure.value, StartError):
            self._refused = failure.value
        else:
            assert failure.value is not None
            self._log.failed("load", failure.value)
            self._exit_code = os.EX_SOFTWARE
        self._stop()

    def _parent_gone(self) -> None:
        if not self._is_stopping:  # a reactor that stops hangs up on every descriptor
            self._log.info("parent_gone")
            self._stop()

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._reactor.callWhenRunning(self._reactor.stop)

    def _take_leave(self, owners: Iterable[Owner]) -> Deferred[None] | None:
        """Answer those who wait, and give the answers time to leave."""
        if any([owner.stop() for owner in owners]):
            return deferLater(self._reactor, _LEAVE_S)
        return None

    def _note_stop(self) -> None:
        self._is_stopping = True
        self._log.info("stopping")


def _tell(stream: TextIO, log: JSONLog, refused: StartError) -> None:
    """Say why the process ends: to a person in a line, to anything else in the log's form."""
    if stream.isatty():
        stream.write(f"micronode owners: {refused}\n")
    else:
        log.error("refused", message=refused.message, exit_code=refused.exit_code)
