"""The five owners, built from the options: each with its engine, and what has to be closed at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from micronode.devowners.database import prepare_directory
from micronode.devowners.deliveries import Deliveries
from micronode.devowners.exchange import Owner
from micronode.devowners.index import Index
from micronode.devowners.index_web import IndexOwner, Provider
from micronode.devowners.log import JSONLog
from micronode.devowners.mailbox import Mailbox
from micronode.devowners.mailbox_web import MailboxOwner
from micronode.devowners.options import Options, StartError
from micronode.devowners.overlay_web import OverlayOwner
from micronode.devowners.peers import Peer
from micronode.devowners.policy_web import PolicyOwner
from micronode.devowners.rules import RuleFile, RulesError
from micronode.devowners.storage import ObjectStore
from micronode.devowners.storage_web import StorageOwner


class Services:
    """The owners and their engines.

    :param in_steps: runs an iterator to its end, a step now and then.
    :ivar owners: by name, in the order of the options.
    :raises StartError: data or rules cannot be used.
    """

    def __init__(
        self, options: Options, reactor: Any, log: JSONLog, in_steps: Callable[[Iterator[None]], object]
    ) -> None:
        self._closers: list[Callable[[], object]] = []
        rules = _read_rules(options)
        if options.data is not None:
            prepare_directory(options.data)
        try:
            self.index = Index(options.data)
            self._closers.append(self.index.close)
            self.store = ObjectStore(options.data, in_steps=in_steps)
            self._closers.append(self.store.close)
            mailbox = Mailbox(options.data)
            self._closers.append(mailbox.close)
        except BaseException:
            self.close()
            raise
        pool = ThreadPool(1, 1, "index")
        reactor.callWhenRunning(pool.start)
        self._closers.append(pool.stop)
        owners = (
            IndexOwner(
                self.index,
                partial(deferToThreadPool, reactor, pool),
                [Provider("storage", "local", 1.0, self.store)],
            ),
            MailboxOwner(Deliveries(mailbox, reactor, time.time)),
            StorageOwner(self.store, options.max_object_bytes),
            OverlayOwner([Peer(reactor, url) for url in options.peers], log),
            PolicyOwner(rules, log),
        )
        self.owners: dict[str, Owner] = {owner.name: owner for owner in owners}

    def close(self) -> None:
        """Close everything, the last first."""
        while self._closers:
            self._closers.pop()()


def _read_rules(options: Options) -> RuleFile | None:
    if options.rules is None:
        return None
    try:
        return RuleFile(options.rules)
    except RulesError as error:
        raise StartError(os.EX_CONFIG, f"--rules {error}") from None
