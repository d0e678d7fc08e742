"""The node: :func:`make_node` builds every part, :class:`NodeService` starts and drains them.

The only place that knows concrete classes. It touches nothing process-wide: no signals, no logging
set-up, no global reactor, so a host program can hold several nodes.

Why the order of a stop matters: a load balancer learns of it from ``/readyz`` and needs time
(``drain.grace``) before the listeners close, or callers get refused connections; calls that were
admitted get ``drain.deadline`` to finish; and the admin listener closes last, so that the drain can be
watched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from micronode import __version__
from micronode.adapters.health import OwnerHealth
from micronode.adapters.index import IndexClient
from micronode.adapters.storage import StorageClient
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import OperationTable
from micronode.concurrency.backpressure import Gate
from micronode.concurrency.listening import ListenError, bind, bound_address
from micronode.config.address import ListenAddress
from micronode.config.schema import Config
from micronode.facets.graph import GraphFacet
from micronode.facets.media import MediaFacet
from micronode.facets.search import SearchFacet
from micronode.http.admin import ADMIN_ROUTES, make_admin_site
from micronode.http.site import make_app_site
from micronode.interfaces import IFacet, IReadinessCheck
from micronode.lifecycle import State, make_lifecycle
from micronode.oap.factory import OAPFactory
from micronode.observability.metrics import Metrics
from micronode.observability.probes import Probes
from micronode.observability.version import build_version
from micronode.oap.wire.limits import DECOMPRESS_RATIO

_log = Logger()
_access_log = Logger(namespace="micronode.access")
