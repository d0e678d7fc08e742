"""HTTP's limits: how large a request may be, and how long a connection may take for each thing it does.

A deadline runs from the start of the thing and no byte moves it, so that a caller who sends one
byte every two seconds gains nothing by it.
"""

from __future__ import annotations

from typing import Final, Protocol

import attrs

from micronode.errors import ErrorCode, NodeError

#: A request body, collected in memory.
MAX_HTTP_BODY_BYTES: Final = 1_048_576
#: A request head, and the fields in it.
MAX_HTTP_HEAD_BYTES: Final = 16_384
MAX_HTTP_FIELDS: Final = 128
#: Pipelined bytes kept while an answer is on its way; beyond it the connection is not read. One read
#: (64 KiB) may come on top.
MAX_PIPELINED_BYTES: Final = MAX_HTTP_HEAD_BYTES
#: Requests of one connection, heads and bodies, that are taken in one turn of the reactor: a read may hold
#: 2,000 that are refused at once, and everybody else would wait for all of them.
MAX_STEPS: Final = 32
#: Parameters in a query; each costs a decode.
MAX_QUERY_PARAMETERS: Final = 128
#: Bytes of body that earn one more second (the promise of ``timeouts.body``).
BODY_BYTES_PER_S: Final = 65_536


class Timeouts(Protocol):
    """What is read of the configuration's ``timeouts`` section, in seconds."""

    @property
    def read(self) -> float:
        """A whole head."""

    @property
    def body(self) -> float:
        """A whole body, before what its size adds."""

    @property
    def write_stall(self) -> float:
        """A response that accepts no byte."""


@attrs.frozen(kw_only=True)
class Deadlines:
    """The deadlines of a connection, in seconds."""

    read_s: float = 5.0
    body_s: float = 10.0
    #: Between requests of a kept-alive connection.
    idle_s: float = 75.0
    write_stall_s: float = 30.0
    #: Bytes a second that a caller takes of an answer at least; 0: any number will do.
    min_rate: int = 0

    @classmethod
    def of(cls, timeouts: Timeouts, idle_s: float, min_rate: int = 0) -> Deadlines:
        """Take them from the configuration."""
        return cls(
            read_s=timeouts.read,
            body_s=timeouts.body,
            idle_s=idle_s,
            write_stall_s=timeouts.write_stall,
            min_rate=min_rate,
        )

    def late_head(self) -> NodeError:
        """Return what a caller is told whose head is not whole in time."""
        return NodeError(ErrorCode.TIMEOUT, f"the head was not whole within {self.read_s:g} s")

    def late_body(self) -> NodeError:
        """Return what a caller is told whose body is not whole in time."""
        return NodeError(
            ErrorCode.TIMEOUT, f"the body was not whole within {self.body_s:g} s and 1 s per 64 KiB"
        )

    def body_within_s(self, received_bytes: int) -> float:
        """Return how long a body may have taken that came to *received_bytes* so far."""
        return self.body_s + received_bytes / BODY_BYTES_PER_S
