"""``micronode call``: make one OAP/1 call and print the body of its answer, or a subscription's messages.

A thin user of :mod:`micronode.oap.client`, which embedding programs use the same way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.python.failure import Failure

from micronode.cli.bodies import BodyWriter, open_body
from micronode.cli.calloptions import CallOptions
from micronode.cli.exits import CommandError, Exit, say
from micronode.cli.output import LiveWriter
from micronode.cli.runner import run_to_end
from micronode.cli.streams import output
from micronode.cli.subscribing import print_messages
from micronode.oap.client import OAPClient, OAPError, OAPResponse, connect
from micronode.oap.client.greeter import GreetingTimeoutError

Connect = Callable[[Any, str], Deferred[OAPClient]]
#: Seconds to say goodbye.
_CLOSE_S: Final = 2.0


def main(argv: Sequence[str]) -> int:
    """Make the call.

    :return: 0 when the body was printed whole, 1 when the call failed.
    :raises CommandError: usage, or no connection.
    """
    options = CallOptions()
    options.parse(argv)
    from twisted.internet import reactor

    return run_to_end(reactor, lambda: call(reactor, options))


async def call(reactor: Any, options: CallOptions, connect: Connect = connect) -> int:
    """Make the call that *options* describe.

    :param connect: makes the connection; :func:`micronode.oap.client.connect` unless a test passes its own.
    :return: the exit code.
    :raises CommandError: no connection, a body that cannot be read, or no end within ``--timeout``.
    """
    calling = Deferred.fromCoroutine(_call(reactor, options, connect))
    if options["timeout"] is not None:
        calling.addTimeout(options["timeout"], reactor, onTimeoutCancel=_timed_out)
    return await calling


def _timed_out(result: int | Failure, seconds: float) -> int:
    if not isinstance(result, Failure):  # a subscription, for which that is a good end
        return result
    raise CommandError(Exit.FAILED, f"no end within {seconds:g} s, the --timeout given")


async def _call(reactor: Any, options: CallOptions, connect: Connect) -> int:
    body = None if options["body"] is None else open_body(options["body"], reactor)
    client = await _connected(reactor, options["target"], connect)
    profile, op, args = options["app"], options["op"], options["args"]
    try:
        if options["subscribe"]:
            writer = LiveWriter(output(), reactor, lambda: None)
            ack, count = bool(options["ack"]), options["count"]
            return await print_messages(client, profile, op, args, writer, ack=ack, count=count)
        response = await client.call(
            profile,
            op,
            args,
            body=body,
            deadline_ms=options["deadline"],
            idempotency_key=options["idempotency-key"],
        )
        live = reactor if options["stream"] else None
        name = f"{options['profile']}.{options['op']}"
        return await _print(response, name, head=bool(options["head"]), live=live)
    except OAPError as error:
        say(f"{options['profile']}.{options['op']}: {describe(error)}")
    except ConnectionClosed:
        say(
            f"{options['profile']}.{options['op']}: the connection to {options['target']} was lost; try again"
        )
    except ValueError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except OSError as error:
        say(f"{options['profile']}.{options['op']}: cannot read the body: {error.strerror or error}")
    finally:
        await _closed(reactor, client)
    return Exit.FAILED


async def _connected(reactor: Any, target: str, connect: Connect) -> OAPClient:
    try:
        return await connect(reactor, target)
    except ValueError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    except OAPError as error:
        raise CommandError(Exit.UNAVAILABLE, f"no OAP/1 connection to {target}: {describe(error)}") from None
    except GreetingTimeoutError as error:
        raise CommandError(Exit.UNAVAILABLE, f"no OAP/1 connection: {error}") from None
    except (ConnectError, ConnectionClosed, DNSLookupError, OSError) as error:
        reason = str(error).rstrip(".").partition("\n")[0]
        message = f"cannot connect to {target}: {reason}; is the node running, and is this its oap.listen?"
        raise CommandError(Exit.UNAVAILABLE, message) from None


async def _print(response: OAPResponse, name: str, *, head: bool, live: Any = None) -> int:
    if head:
        _print_head(response)
    delivery: Deferred[None] | None = None

    def full() -> None:
        if delivery is not None:
            delivery.cancel()

    stream = output()
    writer = BodyWriter(stream, full) if live is None else LiveWriter(stream, live, full)
    delivery = response.deliver(writer)
    if writer.error is not None:
        delivery.cancel()
    try:
        await delivery
        if isinstance(writer, LiveWriter):
            await writer.drained()
    except CancelledError:
        if writer.error is None:
            raise
    finally:
        kind = response.head.get("content_type") or ""
        is_text = kind.startswith("text/") or kind.partition(";")[0].strip() == "application/json"
        writer.finish(newline=is_text and stream.isatty())
    if writer.error is not None:
        # A reader that has seen enough (head, less) is nothing to talk about.
        if writer.error.errno != errno.EPIPE:
            say(f"cannot write the body: {writer.error.strerror}")
        return Exit.FAILED
    if writer.is_empty and not head:
        # All there is to the answer; and not on standard output, where an empty object stays empty.
        _print_head(response)
    status = response.head.get("status", 200)
    if status < 400:
        return Exit.DONE
    say(f"{name}: answered with status {status}")
    return Exit.FAILED


def _print_head(response: OAPResponse) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(json.dumps(response.head), file=sys.stderr, flush=True)


async def _closed(reactor: Any, client: OAPClient) -> None:
    # The answer is there; how the goodbye went is of no interest.
    with contextlib.suppress(OAPError, ConnectionClosed, DeferredTimeoutError):
        await client.close().addTimeout(_CLOSE_S, reactor)


def describe(error: OAPError) -> str:
    """Return an error in words: what, whose, why, when to come back, and what the node's log calls it."""
    name, message, request_id = (
        "".join(character if character.isprintable() else " " for character in text)
        for text in (error.name, error.message, error.request_id or "")
    )
    where = "" if error.from_node else ", found on this side"
    again = f"; try again in {error.retry_after_ms} ms" if error.retry_after_ms is not None else ""
    logged = f"; request_id {request_id}" if request_id else ""
    return f"{name} ({error.code}{where}): {message}{again}{logged}"
