"""Asking owner services whether they are ready: ``micronode check --deep``."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from micronode.adapters.agent import OwnerAgent
from micronode.config.schema import Config
from micronode.config.url import OwnerUrl


async def ask_owners(reactor: Any, config: Config) -> dict[str, str]:
    """Ask ``/readyz`` of every URL of every owner, all at once.

    :return: ``owners.NAME URL`` -> ``ready``, or ``down:`` and why; within each owner's timeout.
    """
    names = [(name, url) for name, owner in config.owners.items() for url in owner.url]
    asked = [_ask(reactor, url, config.owners[name].timeout) for name, url in names]
    answers = await DeferredList(asked)
    return {f"owners.{name} {url}": str(text) for (name, url), (_, text) in zip(names, answers, strict=True)}


def _ask(reactor: Any, url: str, timeout_s: float) -> Deferred[str]:
    agent = OwnerAgent(reactor, OwnerUrl.parse(url), connections=1, connect_timeout_s=timeout_s)
    exchange = agent.exchange(b"GET", b"/readyz", Headers({b"accept": [b"application/json"]}), keep=False)

    def told(answer: IResponse) -> str:
        return "ready" if answer.code == 200 else f"down: it answered {answer.code}"

    def failed(failure: Failure) -> str:
        if failure.check(TimeoutError):
            return f"down: no answer within {timeout_s:g} s"
        if failure.check(ConnectError, ConnectionClosed, ResponseFailed, ResponseNeverReceived):
            reason = " ".join(str(failure.value).split()).rstrip(".")
            return f"down: {reason or type(failure.value).__name__}"
        failure.raiseException()
        raise AssertionError

    def over(text: str) -> str:
        # Only the status counts; whatever body comes with it is not waited for.
        exchange.abort()
        return text

    exchange.head.addTimeout(timeout_s, reactor)
    return exchange.head.addCallback(told).addErrback(failed).addCallback(over)
