"""Faults by their names: what ``--fault`` takes, and which of them a request gets.

The grammar is ``OWNER=KIND[:ARG][@SHARE]``, several of them by comma. Several faults of one owner are
alternatives, so their shares add up to 1 at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

import attrs

from micronode.config.problems import did_you_mean

#: Of answers that come at all, in bytes and seconds where a fault says neither.
_DEFAULT_DRIP_S: Final = 0.1
_DEFAULT_OVERSIZE_BYTES: Final = 16 * 2**20
_DEFAULT_RETRY_S: Final = 1.0

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SIZE: Final = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)?")
_BYTES: Final = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SHARE: Final = re.compile(r"0?\.[0-9]{1,9}|0|1|1\.0{1,9}")


class FaultError(ValueError):
    """A fault that is none; the message says why, and what could have been meant."""


@attrs.frozen
class Kind:
    """One kind of fault."""

    #: What it does, for ``--help`` and ``docs/OWNERS.rst``.
    what: str
    #: Its argument: ``duration``, ``size``, or words to choose from, by default the first; None: none.
    argument: str | tuple[str, ...] | None = None
    #: In seconds or bytes, where none is given; None: for ever.
    default: float | None = None


KINDS: Final[Mapping[str, Kind]] = {
    "refuse": Kind("no connection is taken"),
    "reset": Kind("the connection is reset before the answer, or amid its body", ("head", "body")),
    "stall": Kind("the answer comes so much later, or never", "duration"),
    "stall-body": Kind("half of the body comes, the rest so much later, or never", "duration"),
    "drip": Kind("the body comes a byte at a time, one each so often", "duration", _DEFAULT_DRIP_S),
    "oversize": Kind("so many spaces follow the body, and are part of it", "size", _DEFAULT_OVERSIZE_BYTES),
    "wrong-length": Kind("Content-Length says more than comes, or less", ("short", "long")),
    "bad-chunk": Kind("the body is chunked, and the second chunk has no size"),
    "wrong-digest": Kind("the last byte of an object is another, or the last digit of each address in JSON"),
    "bad-json": Kind("the JSON of the answer ends after its first half"),
    "500": Kind("nothing is done, the answer is 500"),
    "503": Kind("nothing is done, the answer is 503 with Retry-After", "duration", _DEFAULT_RETRY_S),
}


@attrs.frozen
class Fault:
    """One fault: what an owner does to a share of its requests."""

    kind: str
    #: Seconds or bytes, as its kind says; None: for ever, or it takes none.
    amount: float | None = None
    #: One of the words of its kind.
    word: str = ""
    share: float = 1.0


class Faults:
    """The faults of one owner, drawn anew for each request.

    :param seed: the same one gives the same requests the same faults, in the order of their arrival.
    """

    def __init__(self, faults: Sequence[Fault], seed: str) -> None:
        self.faults = tuple(faults)
        self._requests = Random(f"{seed}/requests")  # noqa: S311 - a sequence to repeat, not to hide
        self._connections = Random(f"{seed}/connections")  # noqa: S311

    @property
    def refuses_all(self) -> bool:
        """Whether no connection is ever taken."""
        return any(fault.kind == "refuse" and fault.share >= 1 for fault in self.faults)

    def refuses(self) -> bool:
        """Draw whether the next connection is refused."""
        share = sum(fault.share for fault in self.faults if fault.kind == "refuse")
        return self._connections.random() < share

    def draw(self) -> Fault | None:
        """Draw the fault of the next request, if it gets any."""
        drawn = self._requests.random()
        for fault in self.faults:
            if fault.kind != "refuse":
                drawn -= fault.share
                if drawn < 0:
                    return fault
        return None


def parse_faults(texts: Iterable[str], owners: Sequence[str]) -> dict[str, list[Fault]]:
    """Read the values of ``--fault``; return the faults by owner.

    :raises FaultError: one is malformed, or those of an owner are too many.
    """
    found: dict[str, list[Fault]] = {}
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        owner, equals, rest = text.partition("=")
        if not equals:
            raise FaultError(f"{text!r}: expected OWNER=KIND[:ARG][@SHARE], as in storage=stall:2s@0.1")
        if owner not in owners:
            raise FaultError(f"{text!r}: there is no owner {owner!r}{did_you_mean(owner, owners)}")
        found.setdefault(owner, []).append(_read(text, rest))
    for owner, faults in found.items():
        if sum(fault.share for fault in faults) > 1 + 1e-9:
            raise FaultError(f"the shares of {owner}'s faults are more than 1 together")
    return found


def _read(text: str, rest: str) -> Fault:
    what, at, share = rest.partition("@")
    name, colon, argument = what.partition(":")
    kind = KINDS.get(name)
    if kind is None:
        raise FaultError(
            f"{text!r}: there is no fault {name!r}{did_you_mean(name, KINDS)};"
            f" the faults are {', '.join(KINDS)}"
        )
    if at and not _SHARE.fullmatch(share):
        raise FaultError(f"{text!r}: a share is a number from 0 to 1, as in @0.1")
    fault = Fault(name, kind.default, share=float(share) if at else 1.0)
    if isinstance(kind.argument, tuple):
        word = argument if colon else kind.argument[0]
        if word not in kind.argument:
            close = did_you_mean(word, kind.argument)
            raise FaultError(f"{text!r}: {name} takes {' or '.join(kind.argument)}, not {word!r}{close}")
        return attrs.evolve(fault, word=word)
    if not colon:
        return fault
    if kind.argument is None:
        raise FaultError(f"{text!r}: {name} takes no argument")
    return attrs.evolve(fault, amount=_read_amount(text, name, kind.argument, argument))


def _read_amount(text: str, name: str, argument: str, given: str) -> float:
    if argument == "duration" and (match := _DURATION.fullmatch(given)):
        return float(match[1]) * _SECONDS[match[2]]
    if argument == "size" and (match := _SIZE.fullmatch(given)):
        return float(int(match[1]) * _BYTES[match[2]])
    form = "a duration such as 500ms or 2s" if argument == "duration" else "a size such as 64KiB"
    raise FaultError(f"{text!r}: {name} takes {form}, not {given!r}")
