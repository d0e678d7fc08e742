"""The options of ``micronode owners``, and :class:`StartError`: why the process does not start.

Nothing here touches the network or the disk beyond looking at inherited descriptors.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import attrs

from micronode.config.address import ListenAddress
from micronode.config.schema import KEYS

DEFAULT_INDEX: Final = "127.0.0.1:5321"
DEFAULT_STORAGE: Final = "127.0.0.1:5323"
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

    index: ListenAddress
    storage: ListenAddress
    corpus: Path | None
    data: Path | None
    max_object_bytes: int
    report_fd: int | None
    parent_fd: int | None
    log_level: str


def parse_options(argv: Sequence[str]) -> Options:
    """Return the options in *argv* (without the program's name).

    :raises StartError: 64, naming the option that is wrong.
    :raises SystemExit: after ``--help`` was printed.
    """
    given = _parser().parse_args(list(argv))
    return Options(
        index=_parse_address("--index", given.index),
        storage=_parse_address("--storage", given.storage),
        corpus=Path(given.corpus) if given.corpus is not None else None,
        data=Path(given.data) if given.data is not None else None,
        max_object_bytes=_parse_size("--max-object", given.max_object),
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
        raise _usage(f"{flag} {text}: {error}; use HOST:PORT or unix:/path, as in {DEFAULT_INDEX}") from None
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
        " search and a graph) and a content-addressed object store. Without --corpus they hold the"
        " packages installed in this Python environment.",
        allow_abbrev=False,
    )
    where = "loopback HOST:PORT (0: any free port) or unix:/path (default %(default)s)"
    parser.add_argument(
        "--index", metavar="ADDRESS", default=DEFAULT_INDEX, help=f"where the index listens: {where}"
    )
    parser.add_argument(
        "--storage", metavar="ADDRESS", default=DEFAULT_STORAGE, help=f"the same for storage: {where}"
    )
    parser.add_argument(
        "--corpus", metavar="DIR", help="index the .md .rst .txt .html .py files below DIR instead"
    )
    parser.add_argument("--data", metavar="DIR", help="keep index and objects in DIR (default: in memory)")
    parser.add_argument(
        "--max-object",
        metavar="SIZE",
        default=DEFAULT_MAX_OBJECT,
        help="largest object (default %(default)s)",
    )
    parser.add_argument(
        "--report-fd", metavar="N", help="when ready, write one JSON line with the addresses to descriptor N"
    )
    parser.add_argument("--parent-fd", metavar="N", help="stop when the pipe on descriptor N is closed")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default %(default)s)")
    return parser


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
