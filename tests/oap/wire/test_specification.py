"""``specs/oap-1.md`` against the code: what it prints is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire import limits
from micronode.oap.wire.frames import Flag
from micronode.oap.wire.profiles import Profile
from tests.support import printed

TEXT = (Path(__file__).resolve().parents[3] / "specs" / "oap-1.md").read_text("utf-8")


def _rows(pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, TEXT, re.M)


class PrintedTests(SynchronousTestCase):
    def test_state_tables_and_examples(self) -> None:
        blocks = printed.blocks()
        for block in blocks:
            self.assertIn(block, TEXT)
        self.assertEqual(TEXT.count("\n```\n"), 2 * (len(blocks) - 2))

    def test_the_first_example_is_the_well_known_hello(self) -> None:
        data = printed.examples()["HELLO"]
        self.assertEqual((len(data), data[:8].hex()), (49, "0000003100010001"))

    def test_flags(self) -> None:
        rows = _rows(r"^\| `([A-Z_0-9]+)` \| (\d+) \| [^|]+ \|$")
        self.assertEqual(rows, [(flag.name, str(int(flag))) for flag in Flag])

    def test_profiles(self) -> None:
        rows = _rows(r"^\| (0x[0-9a-f]{4}) \| (\w+) \|")
        self.assertEqual(rows, [(f"0x{profile:04x}", profile.name.lower()) for profile in Profile])

    def test_limits(self) -> None:
        rows = _rows(r"^\| ([A-Za-z][\w ]*) \| ([\d ]+) \| \w* ?\| [^|]+ \|$")
        printed_limits = {name: int(value.replace(" ", "")) for name, value in rows}
        self.assertEqual(
            printed_limits,
            {
                "max_frame": limits.MAX_FRAME_BYTES,
                "max_chunk": limits.MAX_CHUNK_BYTES,
                "decompress_ratio": limits.DECOMPRESS_RATIO,
                "least max_frame": limits.MIN_MAX_FRAME_BYTES,
                "head": limits.MAX_HEAD_BYTES,
                "capability": limits.MAX_CAP_BYTES,
                "JSON depth": limits.MAX_JSON_DEPTH,
                "JSON integer": limits.MAX_JSON_INTEGER,
                "max_inflight": limits.MAX_INFLIGHT,
                "stream buffer": limits.STREAM_WINDOW_BYTES,
                "connection buffer": limits.CONNECTION_WINDOW_BYTES,
                "PING": limits.MAX_PING_BYTES,
                "inflated": limits.DECOMPRESS_FLOOR_BYTES,
                "linger": limits.LINGER_BYTES,
            },
        )
