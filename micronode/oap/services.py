"""What the connections of one listener share, and what its parts need of each other: shapes only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from micronode.calls.call import Call, Ingress
from micronode.calls.table import OperationTable
from micronode.concurrency.memory import Buffers
from micronode.concurrency.outgoing import Outgoing
from micronode.concurrency.shedlog import ShedLog
from micronode.config.schema import Limits, Timeouts
from micronode.interfaces import IResponseSink
from micronode.oap.meter import Meter

#: The access log: called once a call with the fields of ``docs/architecture.rst``, "Logs".
Access: TypeAlias = Callable[[dict[str, object]], None]


class Dispatch(Protocol):
    """The dispatcher, as far as the ingress needs it."""

    @property
    def table(self) -> OperationTable:
        """The operations that are served."""

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        """Answer *call* through *sink*; see :meth:`micronode.calls.dispatcher.Dispatcher.dispatch`."""


class Reading(Protocol):
    """What reads a connection, as far as the bodies of its streams need it."""

    def stop_reading(self) -> None:
        """Read nothing until :meth:`go_on_reading`."""

    def go_on_reading(self) -> None:
        """Read again; a stream that is full may stop it at once."""


@attrs.frozen(kw_only=True)
class Services:
    """What every connection of a listener shares that was begun under one configuration."""

    dispatcher: Dispatch
    meter: Meter
    access: Access
    outgoing: Outgoing
    clock: IReactorTime
    limits: Limits
    timeouts: Timeouts
    #: What the connections hold is charged to it.
    buffers: Buffers = attrs.field(factory=Buffers)
    #: Tells of callers that are cut off in the log; None: nothing does.
    shed: ShedLog | None = None

    def slow_reader(self) -> None:
        """Count a caller that is cut off, or a stream that is ended: it takes an answer too slowly."""
        self.meter.slow_reader()
        if self.shed is not None:
            self.shed.cut_off("slow_reader", Ingress.OAP.value)
