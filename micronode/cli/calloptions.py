"""The command line of ``micronode call``."""

from __future__ import annotations

import json
import re
from typing import Final

from twisted.python import usage

from micronode.cli.command import CommandOptions, OptParameters
from micronode.config.kinds import Key, Kind, RefusedError, did_you_mean, shorten
from micronode.oap.wire.profiles import Profile

#: Profiles as they are typed.
PROFILES: Final = {profile.name.lower(): profile for profile in Profile if profile is not Profile.CONTROL}
#: Operations that store the body they are sent; to be sent none is most likely a forgotten --body.
STORING: Final = frozenset({(Profile.MEDIA, "put")})
_TIMEOUT: Final = Key(
    path="--timeout", kind=Kind.DURATION, doc="", default=None, unit="s", minimum=0.001, maximum=604_800
)


class CallOptions(CommandOptions):
    """Options of ``micronode call``."""

    command = "micronode call TARGET PROFILE OP [options]"
    longdesc = (
        "Make one OAP/1 call and print the body of its answer. TARGET is oap://HOST:PORT or unix:/path; "
        f"PROFILE is one of {', '.join(PROFILES)}, or a number from 1 to 65535 (28673, 0x7001); OP is an "
        "operation of it."
    )
    optParameters: OptParameters = (
        ("body", None, None, "Send this file as the request's body; - is standard input."),
        (
            "idempotency-key",
            None,
            None,
            "Key by which a node can know a repetition, so that the call is made again where the connection "
            "was lost; feed send needs one, and knows a repetition by it.",
        ),
    )
    optFlags = (
        (
            "head",
            None,
            "Print the answer's head (JSON) on standard error, before the body; of an answer without a "
            "body it is printed there in any case.",
        ),
        (
            "stream",
            None,
            "Never wait for whoever reads the output: print what comes as it is taken, and go on sending "
            "meanwhile. Needed where the answer comes while the request is sent, as with --body - to an "
            "operation that answers piece by piece, and to see each piece at once; otherwise it makes no "
            "difference.",
        ),
        (
            "subscribe",
            None,
            "Subscribe, and print each message as a line of JSON, until Ctrl-C (exit code 0) or until the "
            "node ends it (1), as in a drain.",
        ),
        ("ack", None, "With --subscribe: ack each message after it was printed."),
    )

    def __init__(self) -> None:
        super().__init__()
        self["args"] = {}
        self["deadline"] = self["timeout"] = self["count"] = None

    def parseArgs(self, *words: str) -> None:
        if len(words) != 3:
            raise usage.UsageError(f"TARGET, PROFILE and OP are needed, {len(words)} given")
        self["target"], profile, self["op"] = words
        self["profile"], self["app"] = profile, _number_of(profile)

    def postOptions(self) -> None:
        subscribes = self["subscribe"]
        for name in ("ack", "count"):
            if self[name] and not subscribes:
                raise usage.UsageError(f"--{name} is for messages: it goes with --subscribe")
        for name in ("body", "stream", "head", "deadline", "idempotency-key"):
            if subscribes and (self[name] or (name == "deadline" and self[name] is not None)):
                raise usage.UsageError(f"--subscribe takes no --{name}")
        if self["ack"] and not isinstance(self["args"].get("topic"), str):
            raise usage.UsageError("--ack needs the topic: name it with --args '{\"topic\": ...}'")
        if self["body"] is None and (self["app"], self["op"]) in STORING:
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
        """Milliseconds to the head of the answer; it only shortens what the node allows. 0 has passed."""
        self["deadline"] = _whole("--deadline", text, "a whole number of milliseconds from 0 on", least=0)

    def opt_timeout(self, text: str) -> None:
        """Give up after this long, body and all, from 1ms to 168h; a subscription simply ends."""
        try:
            self["timeout"] = _TIMEOUT.read(text)
        except RefusedError as error:
            raise usage.UsageError(f"{error.what}; {error.fix}") from None

    def opt_count(self, text: str) -> None:
        """With --subscribe: end after so many messages."""
        self["count"] = _whole("--count", text, "a whole number from 1 on")


def _whole(option: str, text: str, kind: str, *, least: int = 1) -> int:
    # 17 digits are beyond it already, and a text of a million is not to be read.
    if not (text.isascii() and text.isdigit() and least <= int(text[:17]) <= 2**53):
        raise usage.UsageError(f"{option} takes {kind}, not {shorten(text)}")
    return int(text)


def _number_of(profile: str) -> int:
    if profile in PROFILES:
        return PROFILES[profile]
    if re.fullmatch(r"0x[0-9A-Fa-f]+|[0-9]+", profile):
        number = int(profile[:10], 16 if profile.startswith("0x") else 10)
        if 1 <= number <= 0xFFFF:
            return number
        raise usage.UsageError(f"profile {shorten(profile)} is out of range: use 1 to 65535")
    hint = did_you_mean(profile, PROFILES)
    raise usage.UsageError(
        f"unknown profile {shorten(profile)}{hint}; profiles are {', '.join(PROFILES)}, or a number"
    )
