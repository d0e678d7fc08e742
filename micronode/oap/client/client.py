"""The client itself: calls, streams and subscriptions on whichever connection takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint

from micronode.oap.client.backoff import Backoff
from micronode.oap.client.exchange import Exchange
from micronode.oap.client.greeter import Greeter
from micronode.oap.client.inbox import Inbox
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.client.reconnect import Connections
from micronode.oap.client.response import OAPResponse
from micronode.oap.client.retry import Attempts, Body, Request, check_body
from micronode.oap.client.stream import OAPStream
from micronode.oap.client.subscription import Subscription
from micronode.oap.wire.profiles import Profile

#: The answer to an ack has no body; this is a node that wants to say something.
_ACK_BYTES = 65_536


def connect(
    reactor: Any,
    target: str | IStreamClientEndpoint,
    *,
    timeout_s: float = 10.0,
    backoff: Backoff | None = None,
) -> Deferred[OAPClient]:
    """Connect to the node at *target* and greet it.

    :param reactor: provides IReactorTime, and IReactorTCP or IReactorUNIX.
    :param target: ``oap://HOST:PORT``, ``unix:/path``, or an endpoint.
    :param timeout_s: for connecting and the greeting together, each time it is done.
    :param backoff: how calls are repeated that may be; see :meth:`OAPClient.call`.
    :return: a Deferred that fires with an :class:`OAPClient`. It fails with
        :class:`~twisted.internet.error.ConnectError` (a timeout and an unknown name are, too), or with
        :class:`OAPError` where the node refused the greeting or hung up. Cancelling it closes the connection.
    :raises ValueError: *target* is malformed, or ``oaps://``, which is not available yet.
    """
    greeter = Greeter(reactor, target, timeout_s)
    return greeter.greet().addCallback(
        lambda made: OAPClient(*made, greeter=greeter, backoff=backoff or Backoff())
    )


class OAPClient:
    """A client of one node, many calls at once; made by :func:`connect`.

    It outlives its connection: when the node leaves (GOAWAY) or the connection is lost, the next call makes
    a new one, while calls that are open finish on the old one, or fail with it.
    """

    def __init__(
        self,
        protocol: CallerProtocol,
        hello: Mapping[str, Any],
        *,
        greeter: Greeter | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """:param greeter: makes further connections; None: *protocol* is all there is."""
        self._clock = protocol.clock
        self._backoff = backoff or Backoff()
        self._connections = Connections(protocol, hello, greeter.greet if greeter else None)

    @property
    def hello(self) -> Mapping[str, Any]:
        """The node's answer to the latest HELLO: ``max_inflight``, ``server``, …."""
        return self._connections.hello

    def call(
        self,
        profile: int,
        op: str,
        args: Mapping[str, Any],
        *,
        body: Body = None,
        deadline_ms: int | None = None,
        idempotency_key: str | None = None,
        capability: str | None = None,
        retry: bool = False,
        idempotent: bool = False,
    ) -> Deferred[OAPResponse]:
        """Call operation *op* of *profile*.

        A call is made once, unless the caller allows more. With *retry* it is repeated where certainly
        nothing was done: there was no connection to be had, or the node said ``busy``, ``rate_limited``,
        ``draining`` or ``not_ready`` (then no sooner than it asked for). With *idempotent*, or an
        *idempotency_key*, also after any other error that is ``retryable``, a lost connection above all.
        Waits between attempts, and how many there are, are those of the client's :class:`Backoff` (ten, in
        16 seconds or so); a call with a deadline is tried until that would pass. After the head nothing is
        repeated, nor is a call whose *body* was a producer that has begun.

        :param args: the operation's arguments, JSON values.
        :param body: the request's body: bytes, a producer (its ``length`` does not matter), or what returns
            a new producer for each attempt.
        :param deadline_ms: milliseconds to the head of the answer, that of the last attempt and all of
            them together; what comes of the body is not bound by it. At the node it only shortens the
            facet's timeout. 0 has passed already.
        :param capability: the serialised macaroon.
        :return: a Deferred that fires with an :class:`OAPResponse` when the head of the answer is there.
            It fails with :class:`OAPError` when the node fails the call or the connection is lost, with
            :class:`~twisted.internet.error.ConnectError` when none can be made, or with what *body* failed
            with. Cancelling it cancels the call at the node, or whatever else is under way for it.
        :raises ValueError: *profile* is not 1 to 65535, *deadline_ms* is negative, the arguments or the
            capability are too large, or *args* is no JSON and *capability* no ASCII.
        :raises TypeError: *op* is no str, *args* no mapping, or *body* none of the above.
        """
        check_body(body)
        request = _request(profile, op, args, deadline_ms, idempotency_key, capability)
        return Attempts(
            self._clock,
            self._connections,
            request,
            body,
            self._backoff,
            retry=retry,
            idempotent=idempotent or idempotency_key is not None,
        ).run()

    def stream(
        self,
        profile: int,
        op: str,
        args: Mapping[str, Any],
        *,
        sends: bool = True,
        deadline_ms: int | None = None,
        idempotency_key: str | None = None,
        capability: str | None = None,
    ) -> OAPStream:
        """Call operation *op* of *profile*, sending and taking the bodies piece by piece. Made once.

        :param sends: whether the request has a body; without one only the answer is taken in pieces.
        :param deadline_ms: milliseconds to the head of the answer, as of :meth:`call`.
        :return: the call; it is opened at once. For the rest see :meth:`call`.
        :raises ValueError: as :meth:`call`; and so TypeError.
        """
        request = _request(profile, op, args, deadline_ms, idempotency_key, capability)
        return OAPStream(self._open(request, asking=sends), self._clock, deadline_ms, sends=sends)

    def subscribe(self, topic: str, *, capability: str | None = None) -> Subscription:
        """Take the messages of *topic* of the node's feed as they come, to ack each; see :meth:`events`."""
        return self.events(Profile.FEED, "subscribe", {"topic": topic}, capability=capability, acked=True)

    def events(
        self,
        profile: int,
        op: str,
        args: Mapping[str, Any],
        *,
        capability: str | None = None,
        acked: bool = False,
    ) -> Subscription:
        """Open a subscription of any profile.

        :param acked: messages are acked one by one. When the subscription fails, those that were not asked
            for yet are forgotten: they went back to the mailbox, and come again. Else they come before the
            error.
        :return: the subscription, an async iterator of messages; it is opened at once, and iterating over
            it fails as :meth:`call` does. It ends with its connection: subscribe again then.
        :raises ValueError: as :meth:`call`.
        """
        inbox = Inbox(acked=acked)
        request = _request(profile, op, args, None, None, capability)
        return Subscription(self._open(request, asking=False, inbox=inbox), inbox)

    def ack(
        self, topic: str, msg_id: str, *, capability: str | None = None, idempotent: bool = False
    ) -> Deferred[None]:
        """Say that a message is dealt with.

        :param idempotent: as of :meth:`call`.
        :return: a Deferred that fires (None) when the node has it; fails as :meth:`call` does.
        """
        return self._settle("ack", topic, msg_id, capability, idempotent)

    def nack(
        self, topic: str, msg_id: str, *, capability: str | None = None, idempotent: bool = False
    ) -> Deferred[None]:
        """Give a message back, to be delivered again at once; otherwise as :meth:`ack`."""
        return self._settle("nack", topic, msg_id, capability, idempotent)

    def close(self) -> Deferred[None]:
        """Close the connections; open calls are cancelled, and fail.

        :return: a Deferred that fires (None) when they are closed. Never fails.
        """
        return self._connections.close()

    def _settle(
        self, op: str, topic: str, msg_id: str, capability: str | None, idempotent: bool
    ) -> Deferred[None]:
        args = {"topic": topic, "msg_id": msg_id}
        asked = self.call(Profile.FEED, op, args, capability=capability, idempotent=idempotent)
        return asked.addCallback(lambda response: response.read(_ACK_BYTES)).addCallback(lambda _: None)

    def _open(self, request: Request, *, asking: bool, inbox: Inbox | None = None) -> Deferred[Exchange]:
        def open_on(protocol: CallerProtocol) -> Exchange:
            return protocol.open(request.profile, request.head, request.cap, asking=asking, inbox=inbox)

        usable = self._connections.usable
        got = succeed(usable) if usable is not None else self._connections.get()
        return got.addCallback(open_on)


def _request(
    profile: int,
    op: str,
    args: Mapping[str, Any],
    deadline_ms: int | None,
    idempotency_key: str | None,
    capability: str | None,
) -> Request:
    if not isinstance(profile, int) or not 1 <= profile <= 0xFFFF:
        raise ValueError(f"a profile is a whole number from 1 to 65535, not {profile!r}")
    if not isinstance(op, str) or not isinstance(args, Mapping):
        raise TypeError(f"op is a str and args a mapping of JSON values, not {op!r} and {args!r}")
    if deadline_ms is not None and not (isinstance(deadline_ms, int) and deadline_ms >= 0):
        raise ValueError(f"deadline_ms is a whole number from 0 on, not {deadline_ms!r}")
    if capability is not None and not capability.isascii():
        raise ValueError("a capability is ASCII")
    head: dict[str, Any] = {"op": op, "args": dict(args)}
    options = (("idempotency_key", idempotency_key), ("deadline_ms", deadline_ms))
    head.update((name, value) for name, value in options if value is not None)
    return Request(profile, head, b"" if capability is None else capability.encode("ascii"))
