"""Looking up the names of owners, so that the end of the process does not wait for a name server.

The system's resolver may take half a minute to give up, and a thread that is in it cannot be told to. The
threads of the reactor's own pool are waited for when it stops; a node is gone in time whatever owners do.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, Final

from twisted.internet._resolver import GAIResolver
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.python.threadpool import ThreadPool

#: Names that are looked up at a time; as many as in the reactor's own pool.
THREADS: Final = 10


def install(reactor: Any) -> None:
    """Let *reactor* look names up in threads that nobody waits for; one that looks up none is let be."""
    has_names = IReactorPluggableNameResolver.providedBy(reactor)
    if not has_names:
        return
    pool = ThreadPool(0, THREADS, "lookups")
    pool.threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
    pool.start()
    reactor.installNameResolver(GAIResolver(reactor, lambda: pool))
