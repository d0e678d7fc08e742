"""The corpus that fuzzing starts from: the vectors of ``specs/oap_vectors.json``, as inputs.

It is made anew at every start and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.oracle import ANSWERING, CALLER, DECODER, DENSE, GREETED, NODE, SMALL, WINDOWED
from tests.fuzz.talk import GREETING, REPLY, write_input
from tests.support.vectors import family, sessions

#: Longer vectors would teach the fuzzer little but to be slow.
MAX_SEED_BYTES = 1_024
#: Dense talks in the layout of :func:`tests.fuzz.talk.dense`: an upload, a cancel, a CREDIT, GOAWAY, ….
DENSE_TALKS = (
    bytes.fromhex("0201f5 0001 05 6162636465 0101 00"),
    bytes.fromhex("0401f5 0001 40" + "62" * 64 + "7918 e0 40 0001 20" + "63" * 32 + "0101 00"),
    bytes.fromhex("0301f5 0302f5 0303f5 0304f5 5101 00"),
    bytes.fromhex("9918 04 70696e67 7918 e0 01 c918 f4"),
    bytes.fromhex("0201f6 2001 05 6162636465 0101 00 7718 e0 30"),
    bytes.fromhex("0301f6 0103 00 6103 f7 a718 f4"),
)


def seeds() -> Iterator[bytes]:
    """Return the inputs, the shortest modes first."""
    for vector in [*family("frame"), *family("decode_error")]:
        frame = bytes.fromhex(vector["hex"])
        for mode in (DECODER, DECODER | SMALL):
            yield write_input(mode, frame, (5, 17, 40))
        yield write_input(NODE | GREETED | ANSWERING, frame, (9, 31))
        yield write_input(CALLER | GREETED | ANSWERING, frame, (9, 31))
    for vector in sessions():
        said = bytes.fromhex("".join(vector["caller"]))
        for mode in (NODE, NODE | ANSWERING, NODE | ANSWERING | SMALL | WINDOWED):
            yield write_input(mode, said, (3, 60, 150))
        said = bytes.fromhex("".join(vector["node"]))
        for mode in (CALLER | SMALL, CALLER | ANSWERING | WINDOWED):
            yield write_input(mode, said, (4, 44, 180))
    for mode in (NODE | SMALL, NODE | SMALL | WINDOWED, CALLER | SMALL, CALLER | SMALL | WINDOWED):
        for talk in DENSE_TALKS:
            yield write_input(mode | GREETED | DENSE | ANSWERING, talk, (50, 90))
    yield write_input(NODE, GREETING)
    yield write_input(CALLER, REPLY)


def write_seeds(folder: Path) -> int:
    """Write the corpus into *folder*; return how many inputs it has."""
    wanted = {seed for seed in seeds() if len(seed) <= MAX_SEED_BYTES}
    for number, seed in enumerate(sorted(wanted)):
        (folder / f"seed{number:04}").write_bytes(seed)
    return len(wanted)
