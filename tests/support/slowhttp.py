"""slowhttptest, a program that holds connections of a server open in four ways, each slower than honest."""

from __future__ import annotations

import resource
import subprocess
from typing import Final

from tests.cli.processes import default_signals
from tests.support.tools import missing, require_tool

#: What it does: heads a field a second, bodies a parameter a second, many ranges, answers read in sips.
WAYS: Final = {
    "slow heads": ("-H", "-i", "1", "-x", "10"),
    "slow bodies": ("-B", "-i", "1", "-x", "10", "-s", "8192"),
    "many ranges": ("-R", "-t", "HEAD"),
    # Its receive buffer is as small as Linux has them, and what it reads of it in a second smaller.
    "slow reads": ("-X", "-n", "1", "-z", "256", "-w", "512", "-y", "1024"),
}
#: Descriptors beside those of the connections, of either side.
_OTHERS: Final = 256


def raise_descriptors(connections: int) -> None:
    """Let this process, and those that it starts, have so many connections, and what they need beside.

    :raises SkipTest: the system does not let it; see :func:`tests.support.tools.missing`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        missing(f"{wanted} descriptors are needed, and {hard} allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def start_slow(way: str, url: str, *, connections: int, rate: int, seconds: int) -> subprocess.Popen[bytes]:
    """Open *connections* to *url*, *rate* a second, for as many *seconds* or until all of them are closed."""
    return subprocess.Popen(
        [
            require_tool("slowhttptest"),
            *WAYS[way],
            *("-c", str(connections), "-r", str(rate), "-l", str(seconds), "-p", "3"),
            *("-u", url),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=default_signals,
    )


def no_more_open(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of *process*; whether that was because none of its connections was open any more."""
    said, _ = process.communicate()
    return b"No open connections left" in said
