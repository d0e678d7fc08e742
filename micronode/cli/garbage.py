"""How this process collects garbage, for as long as a node runs in it.

What a node is made of stays for as long as it runs, and what a call makes goes when the call is over, by its
count of references: no call leaves a cycle behind. Python's collector cannot know either. It would look for
cycles whenever there are some hundred objects more than before, which here means that there are more calls
under way, and from time to time through all that the node is made of, which stops it for tens of
milliseconds.
"""

from __future__ import annotations

import gc
from typing import Final

#: Objects there must be more than at the last look before there is another: some hundred calls' worth.
_MORE: Final = 10_000


def settle() -> None:
    """Take what there is for what stays, and look for garbage less often. For once the node has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MORE, *gc.get_threshold()[1:])
