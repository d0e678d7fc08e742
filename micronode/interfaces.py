"""The seams of the node: what facets, adapters and ingresses promise each other.

Each interface has one conformance suite in ``tests/contracts/`` that runs against every
implementation. A table of what is promised, kept in one place however long: nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IPushProducer
    from twisted.web.iweb import IBodyProducer

    from micronode.calls.call import Call, ResponseHead
    from micronode.calls.operations import Operation
    from micronode.errors import NodeError
    from micronode.security.decisions import Decision


class IResponseSink(Interface):
    """Where the answer of one call goes: an OAP stream or an HTTP response.

    A consumer (:class:`twisted.internet.interfaces.IConsumer`) with a head and an end. After the
    caller has gone every method is a no-op, so that a relay needs no special case. Exactly one of
    :meth:`finish`, :meth:`answer` and :meth:`fail` ends it; anything after that is ignored.
    """

    started: bool = Attribute("True once start() was called: no clean failure answer is possible then.")
    error: NodeError | None = Attribute(
        "Why the answer did not end well: the error of fail(), the sink's own where it cannot send what it"
        " was given, ``cancelled`` where the caller has gone. None: it ended well, or has not ended."
    )

    def start(head: ResponseHead) -> None:
        """Send the :class:`~micronode.calls.call.ResponseHead`. At most once.

        A head that the wire cannot carry ends the answer with ``bad_gateway``.
        """

    def write(data: bytes) -> None:
        """Send body bytes. Only after start().

        What is written while the caller does not read is held by the sink: at most what a producer has at
        hand when it is paused.
        """

    def registerProducer(producer: IPushProducer, streaming: bool) -> None:
        """Let *producer* (push only: streaming is True) be paused while the caller does not read.

        Where the caller has gone already, the producer's stopProducing() is called.
        """

    def unregisterProducer() -> None:
        """End the producer's registration; harmless when there is none."""

    def finish() -> Deferred[None]:
        """End the answer well.

        :return: a Deferred that fires (None) when the sink's own buffer was handed to the transport,
            or the caller has gone. Never fails.
        """

    def answer(head: ResponseHead, body: bytes) -> Deferred[None]:
        """Send a whole answer: what start(), write() and finish() one after the other do, in one piece."""

    def fail(error: NodeError) -> None:
        """End the answer with a :class:`~micronode.errors.NodeError`.

        Before start() it becomes a failure answer; after it the body is void: the stream ends with an
        error frame (OAP), the connection is aborted (HTTP).
        """


class IEventSink(IResponseSink):
    """Where a subscribing operation answers: beside the body it may send messages, each one whole.

    Only as much is written as there is room for, so that a facet asks its owner for no more than the
    caller can take, and what waits, waits at the owner. A subscription may be quiet as long as it lives, and
    a caller whose window is shut is not given up; one that takes nothing of what was sent to it is.

    Over HTTP it has messages or a body, not both, and fail() after start() does not cut the connection: an
    event ``error`` tells the caller.

    After the caller has gone, or the answer has ended, :meth:`write_event` does nothing, there is no room,
    and :meth:`when_room` fails; that ends a loop which waits and writes. The Deferred of the relay is
    cancelled then, too, and when the node stops: it hands back what the caller has not acknowledged, and
    ends. By then the caller has been told.
    """

    max_event: int = Attribute("Bytes of the longest message that this caller can be sent, an int.")
    event_room: int = Attribute(
        "Bytes of messages that may be written now, in all: an int, 0 while it is not the answer's turn. It"
        " changes with every write, and whenever the reactor runs."
    )

    def write_event(data: bytes, event_id: str = "") -> None:
        """Send one message. Only after start().

        :param bytes data: the message, as JSON: not empty, at most :attr:`max_event` bytes, and at most
            :attr:`event_room`; else it is a ValueError.
        :param str event_id: by which the caller can say where he stopped, if the wire has a place for that
            (the ``id`` of server-sent events): visible ASCII, or empty.
        """

    def when_room(size: int) -> Deferred[None]:
        """Wait until a message of *size* bytes fits.

        :param int size: 1 to :attr:`max_event`; else it is a ValueError.
        :return: a Deferred that fires (None) when there is room, at once if there is; first come, first
            served. Who has waited writes before he waits for anything else, or has to ask again. It fails
            with NodeError when the answer ends or the caller goes: with the sink's ``error``, or
            ``cancelled``. It may be cancelled.
        """


class IReplyBody(Interface):
    """The body of a reply, not yet read: held by whoever got the reply, until relayed or aborted."""

    def relay(head: ResponseHead, sink: IResponseSink) -> Deferred[None]:
        """Send *head* and then the body to *sink*, and finish it; the sink's pauses reach the source.

        :return: a Deferred that fires (None) when the sink has finished, and fails with NodeError when
            the source failed (the sink is left for the caller to fail). Cancelling it aborts the source.
        """

    def abort() -> None:
        """Throw the body away and close its connection. Idempotent, and harmless once it was relayed."""


class IOwnerReply(IReplyBody):
    """An owner's response: its head is here, its body not yet read."""

    status: int = Attribute("HTTP status, an int.")
    length: int | None = Attribute("Length of the body in bytes (of the object, for HEAD), or None.")

    def header(name: str) -> str | None:
        """Return the value of header field *name* (a str, any case), or None."""

    def headers() -> Sequence[tuple[str, str]]:
        """Return every end-to-end header field: (name in small letters, value) pairs, as they came.

        Bytes of a value that are no UTF-8 are surrogate escapes.
        """

    def read(
        max_bytes: int,
        *,
        within_s: float | None = None,
        check: Callable[[bytes], object] | None = None,
    ) -> Deferred[bytes]:
        """Collect a small body.

        :param within_s: seconds from now in which it must be whole; None: as long as it does not stall.
        :param check: called with the bytes; the NodeError that it raises is how this fails, and is held
            against the owner as an answer that is of no use.
        :return: a Deferred that fires with the bytes; fails with NodeError ``bad_gateway`` when it is
            longer than *max_bytes* or cut short, ``owner_timeout`` when it stalls.
        """

    def streamed() -> IReplyBody:
        """Return an :class:`IReplyBody` of this reply that sends the head at once, and each piece when it
        comes. (relay() of the reply itself holds the first 64 KiB, so that less is whole, or an error.)
        """

    def checked(digest: bytes) -> IReplyBody:
        """Return an :class:`IReplyBody` of this reply that relays only bytes matching *digest*.

        Up to 64 KiB the whole body is checked before the head is sent; of a longer one the last chunk
        is held back until the digest matches. A mismatch is ``integrity_failed``.

        :param bytes digest: the BLAKE3 digest of the whole body, 32 bytes.
        """

    def as_json() -> IReplyBody:
        """Return an :class:`IReplyBody` of this reply that must be a JSON object.

        Up to 64 KiB the whole body is looked at before the head is sent, and what is none is
        ``bad_gateway``; a longer one is passed on as it is.
        """

    def discard() -> None:
        """Throw away a body nobody wants, that of an error: like abort(), but a small one is read and
        dropped, which keeps the connection. Idempotent.
        """


class IOwnerClient(Interface):
    """One owner service (index, storage, ...) as facets see it.

    Bounded: at most ``owners.NAME.concurrency`` calls at a time, one more is ``owner_unavailable``.
    """

    name: str = Attribute("The owner's name: one of the five, or that of a custom facet.")

    def call(
        method: bytes,
        path: bytes,
        *,
        query: Sequence[tuple[str, str]] | None = None,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        body: IBodyProducer | bytes | None = None,
        idempotent: bool | None = None,
        deadline_s: float | None = None,
        caller_s: float | None = None,
        wait_s: float = 0.0,
    ) -> Deferred[IOwnerReply]:
        """Make one request of the owner.

        :param bytes method: ``b"GET"``, ``b"POST"`` or another; all but ``b"CONNECT"``.
        :param bytes path: from the first ``/``, already percent-quoted.
        :param query: a sequence of (str, str) pairs, quoted here; or None.
        :param headers: a sequence of (bytes, bytes) pairs, end-to-end only; or None. Where none of them is
            ``accept-encoding``, in small letters, the answer is asked for as it is (``identity``).
        :param body: an :class:`~twisted.web.iweb.IBodyProducer`, bytes (small ones: they leave with the
            head), or None. While a producer is being sent only stall deadlines run; the owner's timeout
            starts when it was whole.
        :param idempotent: whether the owner may get it a second time where the first came to nothing; None:
            GET and HEAD may. A request whose body is a producer is never sent again.
        :param deadline_s: seconds this call may take up to the response head, further tries included; None:
            ``owners.NAME.timeout``, which bounds each try.
        :param caller_s: seconds that the caller gives it, which only shortens that. Where they are over,
            nothing is held against the owner.
        :param wait_s: seconds that the owner was asked to let pass if need be before it answers. Each try has
            so many more, as far as *deadline_s* goes, and how long it takes is no measure of the owner.
        :return: a Deferred that fires with an :class:`IOwnerReply` whatever its status, when the
            response head is there. It fails with NodeError: ``owner_unavailable``, ``owner_timeout``,
            ``bad_gateway``, or the one that *body* failed with. Cancelling it aborts the connection to
            the owner.
        """

    def probe(path: bytes) -> Deferred[str]:
        """Ask each endpoint ``GET path`` (``/readyz``) with a small timeout, outside the concurrency bound.

        :return: a Deferred that fires with how the owner is: ``"ok"``; ``"down"``, where no endpoint answers
            200; ``"degraded"``, where one does not, or its calls fail. Never fails; cancelled, it fires with
            how the owner was.
        """

    def close() -> Deferred[None]:
        """Close idle connections. :return: a Deferred that fires (None) when they are closed."""


class IIndexOwner(Interface):
    """The index owner as the search and graph facets see it.

    *call* is the :class:`~micronode.calls.call.Call` on whose behalf it is asked. Each returns a Deferred as
    :meth:`IOwnerClient.call` does; the body of a good answer (status 200) is JSON. Text is quoted here,
    as one segment of a path; ``.`` and ``..``, which cannot be one, raise ``bad_request``.
    """

    def resolve(call: Call, key: str) -> Deferred[IOwnerReply]:
        """Ask what *key* (``name:…`` or ``b3:…``) stands for. Unknown: status 404."""

    def providers(call: Call, cid: str, *, limit: int) -> Deferred[IOwnerReply]:
        """Ask who has the object *cid*; at most *limit* of them."""

    def search(call: Call, query: str, *, limit: int, offset: int) -> Deferred[IOwnerReply]:
        """Ask for the documents that match *query*, best first: *limit* of them from *offset* on."""

    def neighbors(call: Call, node: str, *, hops: int, max_neighbors: int) -> Deferred[IOwnerReply]:
        """Ask for the nodes at most *hops* edges from *node*; at most *max_neighbors* of them."""


class IObjectOwner(Interface):
    """An owner that has objects, as the media facet sees it. *call*, the Deferreds: as IIndexOwner says.

    The header values given are visible ASCII.
    """

    def get(
        call: Call, cid: str, *, byte_range: str | None = None, if_none_match: str | None = None
    ) -> Deferred[IOwnerReply]:
        """Ask for the object *cid*, or one *byte_range* of it (status 206, or 416).

        Where the entity tag in *if_none_match* is the object's: status 304. Unknown: status 404.
        """

    def head(call: Call, cid: str, *, if_none_match: str | None = None) -> Deferred[IOwnerReply]:
        """Ask for the size (``length``) and type of the object *cid*."""


class IStorageOwner(IObjectOwner):
    """The storage owner: objects can be put there, too."""

    def put(call: Call, body: IBodyProducer | None, *, content_type: str) -> Deferred[IOwnerReply]:
        """Store *body* (None: an empty object); the answer (201) is the JSON object ``{"cid": "b3:…"}``."""


class IUpstream(Interface):
    """A service of the user's own as a custom facet sees it."""

    def send(
        call: Call,
        method: bytes,
        target: bytes,
        fields: Sequence[tuple[bytes, bytes]],
        body: IBodyProducer | None,
    ) -> Deferred[IOwnerReply]:
        """Pass a request on, and on whose behalf (*call*); return as :meth:`IOwnerClient.call` does.

        :param target: path and query, quoted.
        :param fields: names in small letters, and values: end-to-end, and none that the node says itself.
        """


class IMailboxOwner(Interface):
    """The mailbox owner as the feed facet sees it. *call* and the Deferreds are as IIndexOwner says.

    Topics, keys and messages are those of the call's tenant. None of it is ever asked a second time for one
    call.
    """

    def send(
        call: Call, topic: str, payload: bytes, *, key: str, attributes: Mapping[str, str]
    ) -> Deferred[IOwnerReply]:
        """Add a message to *topic*; the answer (201) is JSON: ``{"msg_id": "…", "duplicate": false}``.

        Where the idempotency *key* is this message's already: 200 and ``true``; another one's: status 409.
        """

    def recv(
        call: Call, topic: str, *, max_messages: int, max_bytes: int, visibility_ms: int, wait_ms: int
    ) -> Deferred[IOwnerReply]:
        """Take messages of *topic*, oldest first; the answer (200) is JSON: ``{"messages": […]}``.

        They are the caller's alone for *visibility_ms*. One that as JSON is longer than *max_bytes* is passed
        over, and together they are no longer. Where there is none the owner may let *wait_ms* pass.
        """

    def ack(call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """Confirm a message, which is forgotten then (204). Unknown: status 404."""

    def nack(call: Call, msg_id: str) -> Deferred[IOwnerReply]:
        """Give a message back, so that it can be taken at once (204). Unknown: status 404."""


class IPolicyOwner(Interface):
    """The policy owner as the node's policy sees it."""

    def decide(call: Call) -> Deferred[Decision]:
        """Ask whether *call* may be done: its tenant, token id, facet, op and method alone.

        :return: a Deferred that fires with a :class:`~micronode.security.decisions.Decision`, a quarter of
            a second later at most; fails with NodeError where the owner cannot be reached, is too slow, or
            answers anything else. It may be cancelled.
        """


class IPolicy(Interface):
    """Who is asked about every call that was admitted, before its facet runs."""

    def admit(call: Call) -> Call | Deferred[Call]:
        """Judge *call*.

        :return: the call that goes on: itself, or one whose body is held to a limit; at once where that is
            known, else a Deferred, which may be cancelled.
        :raises NodeError: it must not go on (or the Deferred fails with it): ``forbidden``,
            ``body_too_large``, ``owner_unavailable``.
        """


class IFacet(Interface):
    """A group of operations that is switched, gated and measured as one."""

    name: str = Attribute("Its name: graph, search, feed, media or the user's own.")

    def operations() -> tuple[Operation, ...]:
        """Return the tuple of :class:`~micronode.calls.operations.Operation` it serves."""


class IReadinessCheck(Interface):
    """Something ``/readyz`` reports."""

    name: str = Attribute("Its key in ``deps``.")

    def state() -> str:
        """Return ``"ok"``, or a word for what is wrong: ``"degraded"``, ``"down"``, ``"starting"``.

        Cheap, and never blocks.
        """
