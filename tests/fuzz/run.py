"""Fuzz the core for a while: ``python -m tests.fuzz.run [--seconds 60 | --runs N]``.

It starts from a corpus made of the vectors, keeps nothing but a finding, prints how many inputs were
tried, and exits with 1 where there was a finding: the input is printed, and ``--replay HEX`` plays it.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.oap_target import check
from tests.fuzz.seeds import write_seeds

ROOT = Path(__file__).resolve().parents[2]
#: Inputs are at most so long: a session of two dozen frames, and thousands of them a second.
MAX_INPUT_BYTES = 400
#: Seconds that one input may take, and MiB that the process may.
_SLOW_S, _RSS_MIB = 10, 1_024
#: Seconds that starting and stopping may take beside the fuzzing.
_GRACE_S = 60
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_RATE = re.compile(r"stat::average_exec_per_sec:\s+(\d+)")


def is_available() -> bool:
    """Return whether atheris is installed; it has no wheel for every platform."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(*limits: str, folder: Path, timeout_s: float | None) -> tuple[int, str]:
    """Run the target in a process of its own, with a corpus in *folder*, and libFuzzer's *limits*.

    :return: its exit status, and what it printed.
    """
    corpus = folder / "corpus"
    corpus.mkdir()
    print(f"{write_seeds(corpus)} seeds from the vectors", flush=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.fuzz_oap", str(corpus)),
            *limits,
            *(f"-max_len={MAX_INPUT_BYTES}", f"-timeout={_SLOW_S}", f"-rss_limit_mb={_RSS_MIB}"),
            *("-reload=0", "-print_final_stats=1", f"-artifact_prefix={folder}/"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout


def main(arguments: list[str] | None = None) -> int:
    """Fuzz, or replay one input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--runs", type=int, help="how many inputs instead")
    parser.add_argument("--replay", metavar="HEX", help="play this input, and raise what it raises")
    options = parser.parse_args(arguments)
    if options.replay is not None:
        check(bytes.fromhex(options.replay))
        print("nothing was found")
        return 0
    if not is_available():
        print("atheris is not installed: pip install atheris (Linux on x86-64)")
        return 1
    if options.runs is None:
        limit, timeout_s = f"-max_total_time={options.seconds}", options.seconds + _GRACE_S
    else:
        limit, timeout_s = f"-runs={options.runs}", None
    with tempfile.TemporaryDirectory() as name:
        status, printed = fuzz(limit, folder=Path(name), timeout_s=timeout_s)
        findings = [path.read_bytes() for path in Path(name).iterdir() if path.is_file()]
    executed, rate = _EXECUTED.search(printed), _RATE.search(printed)
    if status or findings or executed is None or rate is None:
        print(printed[-6_000:])
        for finding in findings:
            print(f"python -m tests.fuzz.run --replay {finding.hex()}")
        print(f"FAILED: {len(findings)} findings, exit status {status}")
        return 1
    print(f"{executed[1]} executions, {rate[1]} a second, 0 findings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
