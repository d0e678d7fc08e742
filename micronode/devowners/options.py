"""The options of ``micronode owners``, and :class:`StartError`: why the process does not start.

Nothing here touches the network or the disk beyond looking at inherited descriptors.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import attrs

from micronode.config.address import ListenAddress
from micronode.config.problems import shorten
from micronode.config.schema import KEYS
from micronode.config.url import OwnerUrl
from micronode.devowners.faultspec import KINDS, Fault, FaultError, parse_faults

#: Where each owner listens.
DEFAULTS: Final = {
    "index": "127.0.0.1:5321",
    "mailbox": "127.0.0.1:5322",
    "storage": "127.0.0.1:5323",
    "overlay": "127.0.0.1:5324",
    "policy": "127.0.0.1:5325",
}
#: And where, if its address is reported.
_ANY: Final = "127.0.0.1:0"
#: The node's own default for ``limits.max_object``.
DEFAULT_MAX_OBJECT: Final = "1GiB"
#: The node's own words, from the least severe up.
LOG_LEVELS: Final = KEYS["log.level"].choices

_UNITS: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SIZE: Final = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")


class StartError(Exception):
    """The process cannot run as asked.

    :param exit_code: 64 usage, 69 cannot serve, 78 corpus or data refused (``sysexits.h``).
    :param message: one line: what, where, and what to do about it.
    """

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(exit_code, message)
        self.exit_code = exit_code
        self.message = message

    def __str__(self) -> str:
        return self.message


@attrs.frozen(kw_only=True)
class Options:
    """What the command line asked for, checked."""

    #: By the owner's name, in the order of the ports.
    addresses: Mapping[str, ListenAddress]
    corpus: Path | None
    data: Path | None
    max_object_bytes: int
    peers: tuple[OwnerUrl, ...]
    rules: Path | None
    #: By the owner's name; an owner without faults is not in it.
    faults: Mapping[str, tuple[Fault, ...]]
    fault_seed: str
    fault_health: bool
    report_fd: int | None
    parent_fd: int | None
    log_level: str


def parse_options(argv: Sequence[str]) -> Options:
    """Return the options in *argv* (without the program's name).

    :raises StartError: 64, naming the option that is wrong.
    :raises SystemExit: after ``--help`` was printed.
    """
    given = _parser().parse_args(list(argv))
    defaults = DEFAULTS if given.report_fd is None else dict.fromkeys(DEFAULTS, _ANY)
    return Options(
        addresses={
            name: _parse_address(f"--{name}", default if (text := getattr(given, name)) is None else text)
            for name, default in defaults.items()
        },
        corpus=Path(given.corpus) if given.corpus is not None else None,
        data=Path(given.data) if given.data is not None else None,
        max_object_bytes=_parse_size("--max-object", given.max_object),
        peers=tuple(map(_parse_peer, given.peer)),
        rules=Path(given.rules) if given.rules is not None else None,
        faults=_parse_faults(given.fault),
        # Anything may be repeated once it is known; the log says it.
        fault_seed=secrets.token_hex(4) if given.fault_seed is None else given.fault_seed,
        fault_health=given.fault_health,
        report_fd=_parse_pipe("--report-fd", given.report_fd),
        parent_fd=_parse_pipe("--parent-fd", given.parent_fd),
        log_level=given.log_level,
    )


def _parse_address(flag: str, text: str) -> ListenAddress:
    """Return the address *text* means.

    The reference owners know no authentication, so that only the same user (a private socket) or the
    same machine (loopback) may reach them.
    """
    try:
        address = ListenAddress.parse(text)
    except ValueError as error:
        raise _usage(
            f"{flag} {text}: {error}; use HOST:PORT or unix:/path, as in {DEFAULTS['index']}"
        ) from None
    if not address.is_local:
        raise _usage(
            f"{flag} {text}: the reference owners have no authentication and listen on loopback only;"
            " use 127.0.0.1, [::1] or unix:/path"
        )
    return address


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _usage(f"{message} (see micronode owners --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="micronode owners",
        description="Reference owner services for development, demonstrations and tests: an index (full-text"
        " search and a graph), a mailbox, a content-addressed object store, an overlay that fetches objects"
        " from other stores, and a policy. Without --corpus index and storage hold the packages installed in"
        " this Python environment.",
        allow_abbrev=False,
    )
    for name, address in DEFAULTS.items():
        parser.add_argument(
            f"--{name}",
            metavar="ADDRESS",
            help=f"where the {name} owner listens: loopback HOST:PORT (0: any free port) or unix:/path"
            f" (default {address}; with --report-fd a free port)",
        )
    parser.add_argument(
        "--corpus", metavar="DIR", help="index the .md .rst .txt .html .py files below DIR instead"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="keep index, messages and objects in DIR (default: in memory)"
    )
    parser.add_argument(
        "--max-object",
        metavar="SIZE",
        default=DEFAULT_MAX_OBJECT,
        help="largest object (default %(default)s)",
    )
    parser.add_argument(
        "--peer",
        metavar="URL",
        action="append",
        default=[],
        help="a storage owner elsewhere that the overlay asks: http://HOST:PORT or unix:/path (repeatable)",
    )
    parser.add_argument(
        "--rules", metavar="FILE", help="TOML file of the policy's rules (default: everything is allowed)"
    )
    parser.add_argument(
        "--fault",
        metavar="OWNER=KIND[:ARG][@SHARE]",
        action="append",
        default=[],
        help="let a share of an owner's requests go wrong (several by comma, or repeat): " + ", ".join(KINDS),
    )
    parser.add_argument(
        "--fault-seed", metavar="TEXT", help="the same text gives the same requests the same faults"
    )
    parser.add_argument("--fault-health", action="store_true", help="faults also befall /healthz and /readyz")
    parser.add_argument(
        "--report-fd", metavar="N", help="when ready, write one JSON line with the addresses to descriptor N"
    )
    parser.add_argument("--parent-fd", metavar="N", help="stop when the pipe on descriptor N is closed")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default %(default)s)")
    return parser


def _parse_peer(text: str) -> OwnerUrl:
    try:
        url = OwnerUrl.parse(text)
        if url.tls:
            raise ValueError("peers are asked over plain HTTP")
    except ValueError as error:
        raise _usage(f"--peer {shorten(text)}: {error}; use http://HOST:PORT or unix:/path") from None
    return url


def _parse_faults(texts: Sequence[str]) -> dict[str, tuple[Fault, ...]]:
    try:
        found = parse_faults(texts, tuple(DEFAULTS))
    except FaultError as error:
        raise _usage(f"--fault: {error}") from None
    return {owner: tuple(faults) for owner, faults in found.items()}


def _parse_size(flag: str, text: str) -> int:
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2] or ""] if match else 0
    if size < 1:
        raise _usage(f"{flag} {text}: expected a size such as 64KiB, 16MiB or 1GiB")
    return size


def _parse_pipe(flag: str, text: str | None) -> int | None:
    """Return the descriptor *text* names if it is one we inherited and can poll (not a plain file)."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise _usage(f"{flag} {text}: expected the number of an inherited descriptor")
    try:
        mode = os.fstat(int(text)).st_mode
    except OSError as error:
        raise _usage(f"{flag} {text}: no such descriptor was inherited ({error.strerror})") from None
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        raise _usage(f"{flag} {text}: the descriptor is not a pipe")
    return int(text)


def _usage(message: str) -> StartError:
    return StartError(os.EX_USAGE, message)
