"""``micronode owners``: the reference owner services, a process of their own.

Only this command ever imports them; the node does not.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Run the owner services until a signal comes; their own module reads *argv*."""
    from micronode.devowners.main import main as run_owners

    return run_owners(argv)
