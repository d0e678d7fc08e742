"""``micronode``, but SIGUSR1 lets it collect its garbage and give back what memory it can: for a soak.

What is resident then is what is held, not what happened not to be collected, or kept by the allocator for
the next call. A line of its log then says how many blocks Python has. Nothing else is different from ``python
-m micronode``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import runpy
import signal
import sys
from types import FrameType


def collect(number: int, frame: FrameType | None) -> None:
    """Handle the signal."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
    os.write(2, b'{"level":"info","event":"collected","blocks":%d}\n' % sys.getallocatedblocks())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, collect)
    runpy.run_module("micronode", run_name="__main__", alter_sys=True)
