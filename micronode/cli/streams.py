"""The standard streams of a command, and what happens when one takes no more.

A terminal that was closed, a reader that has gone, a full disk: what Python still holds for such a
stream it writes once more when it ends, fails, and turns the exit code into 120. So a stream that
failed is made to lead nowhere, with what it holds; and so does one the process was started without.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import IO, Any

from micronode.cli.exits import CommandError, Exit, print_error

#: Standard streams that the process was started without, by name.
_missing: set[str] = set()


def open_missing() -> None:
    """Make the standard streams that the process was started without (``2>&-``) lead nowhere.

    What is printed by the way may go there; what a command was asked for may not: :func:`show`,
    :func:`output` and :func:`has_input` tell.

    Called before anything else is opened: a socket that got such a number would be taken for the stream
    by whatever writes to it by number, a child process above all.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, so this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # A file of its own: what has the number need not be ours, where somebody opened it earlier.
            stream = open(os.devnull, mode, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            _missing.add(name)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def show(text: str) -> None:
    """Print *text* on standard output, now.

    :raises CommandError: standard output takes no more; it leads nowhere from now on.
    """
    if "stdout" in _missing:
        raise _unwritten(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    try:
        print(text, flush=True)
    except OSError as error:
        discard(sys.stdout)
        raise _unwritten(error) from None


def output() -> IO[bytes]:
    """Return standard output for bytes; one that the process was started without fails what is written."""
    if "stdout" in _missing:
        # For reading only: as if it were closed still, with a number that nobody else has.
        return open(os.open(os.devnull, os.O_RDONLY), "wb", buffering=0)
    return sys.stdout.buffer


def has_input() -> bool:
    """Whether the process was started with a standard input, be it empty."""
    return "stdin" not in _missing


def discard(stream: IO[Any]) -> None:
    """Make *stream* lead nowhere; one without a descriptor is left alone."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def settle(code: int) -> int:
    """Write what the standard streams still hold, so that nothing is left to fail when Python ends.

    :param code: how the command ended.
    :return: *code*; 1 where that was 0 but output was lost.
    """
    error = _flush(sys.stdout)
    if error is not None:
        print_error(_unwritten(error))
        code = code or Exit.FAILED
    _flush(sys.stderr)
    return code


def _flush(stream: IO[Any]) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        discard(stream)
        return error
    except ValueError:  # closed, so it holds nothing
        return None
    return None


def _unwritten(error: OSError) -> CommandError:
    # A reader that has seen enough (head, less) is nothing to talk about.
    lines = [] if error.errno == errno.EPIPE else [f"cannot write to standard output: {error.strerror}"]
    return CommandError(Exit.FAILED, *lines)
