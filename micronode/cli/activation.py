"""Listening sockets that the process was started with, as systemd passes them (``sd_listen_fds(3)``).

A matter of the whole process: the variables are taken out of the environment, so that no child believes
they are meant for it. Whoever imports ``twisted.internet.endpoints`` takes two of them out, too, and below
twistd anybody may have: what the process was started with is asked of the kernel.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from micronode.cli.exits import CommandError, Exit

if TYPE_CHECKING:
    from micronode.config.schema import Config

#: The last one says the same as the first, in newer releases of systemd.
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
#: The first descriptor that is passed on.
_FIRST: Final = 3
#: No process has more descriptors; what a unit passes on is a handful.
_MAX_SOCKETS: Final = 256
#: What systemd calls a socket that has no name.
_UNNAMED: Final = "unknown"
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_PLANES: Final = ("http", "admin", "oap")


def at_start() -> dict[str, str]:
    """Return the variables of socket activation that this program was started with."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [pair.partition(b"=") for pair in file.read().split(b"\0")]
    except OSError:
        return {}  # no /proc: the environment has to do
    return {os.fsdecode(name): os.fsdecode(text) for name, _, text in pairs if name.startswith(b"LISTEN_")}


def take_sockets(
    environ: MutableMapping[str, str], started: Mapping[str, str] = MappingProxyType({})
) -> dict[str, socket.socket]:
    """Return the listening sockets that were passed to this process, by name.

    The variables are removed from *environ*, and programs that this process starts inherit no descriptor.

    :param started: stands in for what is missing in *environ*; see :func:`at_start`.
    :raises CommandError: 78, what was passed on is not what systemd would, or nothing to listen on.
    """
    pid, count, names, _ = (environ.pop(name, started.get(name)) for name in _VARIABLES)
    if pid is None or count is None:
        return {}
    if not _NUMBER.fullmatch(pid):
        raise _refused(f"LISTEN_PID is {pid!r:.40}, not the id of a process")
    if int(pid) != os.getpid():
        return {}  # meant for the process that started this one
    if not _NUMBER.fullmatch(count) or int(count) > _MAX_SOCKETS:
        raise _refused(f"LISTEN_FDS is {count!r:.40}, not a number of descriptors")
    words = [_UNNAMED] * int(count) if names is None else names.split(":") if names or int(count) else []
    if len(words) != int(count):
        raise _refused(f"LISTEN_FDNAMES has {len(words)} names for {count} descriptors")
    found: dict[str, socket.socket] = {}
    for number, name in enumerate(words, _FIRST):
        inherited = _open(number, name)
        if name in found:
            raise _refused(
                f"two sockets are named {name!r}; give each its own FileDescriptorName=, in a .socket unit "
                "of its own"
            )
        found[name] = inherited
    return found


def _open(number: int, name: str) -> socket.socket:
    from micronode.concurrency.inherited import reason_against

    what = f"the socket {name!r} (descriptor {number})"
    try:
        fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    except OSError:
        raise _refused(f"{what} is not open") from None
    try:
        inherited = socket.socket(fileno=number)
    except OSError:
        raise _refused(f"{what} is no socket") from None
    reason = reason_against(inherited)
    if reason is not None:
        raise _refused(f"{what}: {reason}")
    return inherited


def _refused(why: str) -> CommandError:
    return CommandError(Exit.CONFIG, f"socket activation: {why}")


def check_sockets(config: Config, sockets: Mapping[str, socket.socket]) -> list[str]:
    """Match the listeners of *config* with *sockets*.

    :return: the names that no listener has.
    :raises CommandError: 78, a line for each listener whose socket is not there, or not one to serve on.
    """
    from micronode.concurrency.listening import not_passed

    listens = {f"{plane}.listen": getattr(config, plane).listen for plane in _PLANES}
    names = {path: text.partition("systemd:")[2] for path, text in listens.items()}
    wanted = {path: name for path, name in names.items() if name}
    missing = [
        f'{config.place(path)}: {path} = "systemd:{name}": {not_passed(name, sockets)}'
        for path, name in wanted.items()
        if name not in sockets
    ]
    if missing:
        raise CommandError(Exit.CONFIG, *missing)
    unfit = list(_unfit(config, {path: sockets[name] for path, name in wanted.items()}))
    if unfit:
        raise CommandError(Exit.CONFIG, *unfit)
    return sorted(set(sockets) - set(wanted.values()))


def _unfit(config: Config, wanted: Mapping[str, socket.socket]) -> Iterator[str]:
    """Say what is wrong with where sockets are bound, by the key of the listener.

    Binding them would find the first of it, too; but another attempt changes nothing, so that it is not 69.
    """
    taken: dict[object, str] = {}
    for path, inherited in wanted.items():
        bound = inherited.getsockname()
        where = f"{config.place(path)}: {path}: the socket that was passed is bound to {_text(bound)}, "
        if isinstance(bound, tuple) and not ip_address(bound[0]).is_loopback:
            yield (
                f"{where}not loopback, and without capabilities (auth.mode = open) only loopback and Unix "
                "sockets are served; set ListenStream=127.0.0.1:PORT, or a path, in its .socket unit"
            )
        elif taken.setdefault(bound, path) != path:
            yield f"{where}as that of {taken[bound]}; give each listener a socket of its own"


def _text(bound: Any) -> str:
    if not isinstance(bound, tuple):
        return repr(os.fsdecode(bound))
    return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
