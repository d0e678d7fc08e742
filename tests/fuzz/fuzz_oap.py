"""The atheris target over ``micronode.oap.wire``: ``python -m tests.fuzz.fuzz_oap [CORPUS] [-flags]``.

It takes libFuzzer's flags; :mod:`tests.fuzz.run` calls it with a fresh corpus and reads its figures. Only
the core is instrumented: what its coverage teaches the fuzzer is the core's.
"""

from __future__ import annotations

import gc
import sys

import atheris

with atheris.instrument_imports(include=["micronode.oap.wire"]):
    import micronode.oap.wire.caller
    import micronode.oap.wire.connection  # noqa: F401

from tests.fuzz.oap_target import check


def main() -> None:
    """Fuzz until libFuzzer's flags say that it is enough; a finding ends the process."""
    # Nothing here makes cycles that last, and a collection walks all of the instrumented code's tables.
    gc.freeze()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
