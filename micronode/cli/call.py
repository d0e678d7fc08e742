"""``micronode call``: make one OAP/1 call and print the body of its answer.

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
from twisted.python import usage

from micronode.cli.bodies import BodyWriter, open_body
from micronode.cli.exits import CommandError, Exit, say
from micronode.cli.options import CommandOptions, OptParameters
from micronode.cli.runner import run_to_end
from micronode.config.kinds import did_you_mean, shorten
from micronode.oap.client import OAPClient, OAPError, OAPResponse, connect
from micronode.oap.wire.profiles import Profile

#: Profiles as they are typed.
PROFILES: Final = {profile.name.lower(): profile for profile in Profile if profile is not Profile.CONTROL}
#: Operations that store the body they are sent; to be sent none is most likely a forgotten --body.
STORING: Final = frozenset({(Profile.MEDIA, "put")})
Connect = Callable[[Any, str], Deferred[OAPClient]]
#: Seconds to say goodbye.
_CLOSE_S: Final = 2.0


class CallOptions(CommandOptions):
    """Options of ``micronode call``."""

    command = "micronode call TARGET PROFILE OP [options]"
    longdesc = (
        "Make one OAP/1 call and print the body of its answer. TARGET is oap://HOST:PORT or unix:/path; "
        f"PROFILE is one of {', '.join(PROFILES)}; OP is an operation of it."
    )
    optParameters: OptParameters = (
        ("body", None, None, "Send this file as the request's body; - is standard input."),
        (
            "idempotency-key",
            None,
            None,
            "Key by which a node can know a repetition; no operation of this release uses it.",
        ),
    )
    optFlags = (
        (
            "head",
            None,
            "Print the answer's head (JSON) on standard error, before the body; of an answer without a "
            "body it is printed there in any case.",
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self["args"] = {}
        self["deadline"] = None

    def parseArgs(self, *words: str) -> None:
        if len(words) != 3:
            raise usage.UsageError(f"TARGET, PROFILE and OP are needed, {len(words)} given")
        self["target"], profile, self["op"] = words
        if profile not in PROFILES:
            hint = did_you_mean(profile, PROFILES)
            known = ", ".join(PROFILES)
            raise usage.UsageError(f"unknown profile {shorten(profile)}{hint}; profiles are {known}")
        self["profile"] = profile

    def postOptions(self) -> None:
        if self["body"] is None and (PROFILES[self["profile"]], self["op"]) in STORING:
            raise usage.UsageError(
                f"{self['profile']}.{self['op']} stores a body and none was given: name its file with "
                "--body FILE, or - for standard input (/dev/null for an empty one)"
            )

    def opt_args(self, text: str) -> None:
        """Arguments: a JSON object (default: {})."""
        try:
            args = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise usage.UsageError(f"--args is not JSON: {error}") from None
        if not isinstance(args, dict):
            raise usage.UsageError(f"--args takes a JSON object, not {shorten(args)}")
        self["args"] = args

    def opt_deadline(self, text: str) -> None:
        """Milliseconds the node may take."""
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:16]) <= 2**53):
            raise usage.UsageError(f"--deadline takes a whole number of milliseconds, not {shorten(text)}")
        self["deadline"] = int(text)


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
    :raises CommandError: no connection, or a body that cannot be read.
    """
    body = None if options["body"] is None else open_body(options["body"], reactor)
    client = await _connected(reactor, options["target"], connect)
    try:
        response = await client.call(
            PROFILES[options["profile"]],
            options["op"],
            options["args"],
            body=body,
            deadline_ms=options["deadline"],
            idempotency_key=options["idempotency-key"],
        )
        return await _print(response, head=bool(options["head"]))
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
    except (ConnectError, ConnectionClosed, DNSLookupError, OSError) as error:
        reason = str(error).rstrip(".").partition("\n")[0]
        message = f"cannot connect to {target}: {reason}; is the node running, and is this its oap.listen?"
        raise CommandError(Exit.UNAVAILABLE, message) from None


async def _print(response: OAPResponse, *, head: bool) -> int:
    if head:
        _print_head(response)
    delivery: Deferred[None] | None = None

    def full() -> None:
        if delivery is not None:
            delivery.cancel()

    stream = sys.stdout.buffer
    writer = BodyWriter(stream, full)
    delivery = response.deliver(writer)
    if writer.error is not None:
        delivery.cancel()
    try:
        await delivery
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
    return Exit.FAILED if response.head.get("status", 200) >= 400 else Exit.DONE


def _print_head(response: OAPResponse) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(json.dumps(response.head), file=sys.stderr, flush=True)


async def _closed(reactor: Any, client: OAPClient) -> None:
    # The answer is there; how the goodbye went is of no interest.
    with contextlib.suppress(OAPError, ConnectionClosed, DeferredTimeoutError):
        await client.close().addTimeout(_CLOSE_S, reactor)


def describe(error: OAPError) -> str:
    """Return an error in words: its name, code and message, and when to come back."""
    again = f"; try again in {error.retry_after_ms} ms" if error.retry_after_ms is not None else ""
    message = "".join(character if character.isprintable() else " " for character in error.message)
    return f"{error.name} ({error.code}): {message}{again}"
