"""The endpoint of an owner's URL, made once: nothing here is done again for a call."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from micronode.concurrency.connecting import make_endpoint
from micronode.config.url import OwnerUrl


def owner_endpoint(reactor: Any, url: OwnerUrl, timeout_s: float) -> IStreamClientEndpoint:
    """Return the endpoint that connects to the owner at *url*.

    :param timeout_s: for one attempt to connect.
    """
    endpoint = make_endpoint(reactor, url.listener, timeout_s)
    if url.tls:
        # The system's trust store, and the host's name or address as the URL has it.
        return wrapClientTLS(optionsForClientTLS(url.listener.host), endpoint)
    return endpoint
