"""The endpoint of an owner's URL, made once: nothing here is done again for a call."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint

from micronode.adapters.tls import TlsEndpoint
from micronode.concurrency.connecting import make_endpoint
from micronode.config.url import OwnerUrl
from micronode.security.identity import Identity, system_identity


def owner_endpoint(
    reactor: Any, url: OwnerUrl, timeout_s: float, identity: Identity | None = None
) -> IStreamClientEndpoint:
    """Return the endpoint that connects to the owner at *url*.

    :param timeout_s: for one attempt to connect; what TLS then takes has the request's deadline.
    :param identity: for ``https://``; None: whoever the system trusts is trusted, and nothing shown.
    """
    endpoint = make_endpoint(reactor, url.listener, timeout_s)
    if url.tls:
        context = (identity or system_identity()).context
        return TlsEndpoint(reactor, endpoint, context, url.listener.host)
    return endpoint
