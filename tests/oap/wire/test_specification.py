"""``specs/oap-1.md`` against the code: what it prints is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.operations import MAX_MEMBERS, Argument
from micronode.config.routes import Route
from micronode.config.schema import Timeouts
from micronode.facets.custom import CustomFacet, echo
from micronode.facets.feed import FeedFacet
from micronode.facets.graph import GraphFacet
from micronode.facets.media import MediaFacet
from micronode.facets.search import SearchFacet
from micronode.interfaces import IFacet
from micronode.oap.wire import limits
from micronode.oap.wire.frames import Flag
from micronode.oap.wire.profiles import Profile
from tests.support import printed, vectors

TEXT = (Path(__file__).resolve().parents[3] / "specs" / "oap-1.md").read_text("utf-8")


def _rows(pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, TEXT, re.M)


class PrintedTests(SynchronousTestCase):
    def test_state_tables_and_examples(self) -> None:
        blocks = printed.blocks()
        for block in blocks:
            self.assertIn(block, TEXT)
        # What is ABNF is fenced as that, and tested beside this (test_abnf.py).
        fences = TEXT.count("\n```\n") - TEXT.count("\n```abnf\n")
        self.assertEqual(fences, 2 * (len(blocks) - 2))

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

    def test_times(self) -> None:
        rows = _rows(r"^\| `timeouts\.(\w+)` \| (\d+) \| s \| [^|]+ \|$")
        self.assertEqual(len(rows), 6)
        for name, value in rows:
            self.assertEqual(float(value), getattr(Timeouts(), name), name)

    def test_arguments(self) -> None:
        rows = [
            row for row in _rows(r"^\| (\w+) \| `(\w+)` \| `(\w+)` \| ([\w ]+) \| ([\w ]+) \| ([\w ,]+) \|$")
        ]
        facets: tuple[IFacet, ...] = (
            MediaFacet(object(), max_object=1, mismatches=None),
            GraphFacet(object()),
            SearchFacet(object()),
            FeedFacet(object(), object(), timeout_s=1.0),
            CustomFacet("own", [Route("GET", "/{rest}", "read")], echo, max_body=0),
        )
        self.assertEqual(
            rows,
            [
                (operation.profile.name.lower(), operation.op, argument.name, *_takes(argument))
                for facet in facets
                for operation in facet.operations()
                for argument in operation.arguments
            ],
        )

    def test_classes(self) -> None:
        """What the vectors have as an error of a stream, or of a connection, is of that class."""
        classes = {
            name: said for name, said in _rows(r"^\| `(\w+)` \| \d{3} \| [\w/]+ \| ([\w;, ]+) \| .+ \|$")
        }
        seen = set()
        for vector in vectors.sessions():
            for event in vector["events"]:
                if "error" in event:
                    ends = "connection" if event["event"] == "connection_failed" else "stream"
                    seen.add((event["error"], ends))
                    self.assertIn(ends, classes[event["error"]], vector["name"])
        for vector in vectors.family("decode_error"):
            self.assertEqual(classes[vector["micronode_error"]], "connection")
        for name, said in classes.items():
            if "stream" in said and "connection" in said:
                self.assertLessEqual({(name, "stream"), (name, "connection")}, seen | _ELSEWHERE, name)


#: Stream errors that the core does not find itself: it does not read heads.
_ELSEWHERE = {("bad_request", "stream"), ("bad_json", "stream")}


def _takes(argument: Argument) -> tuple[str, str, str]:
    """Return type, default and range of *argument* as the specification writes them."""
    default = (
        "required" if argument.required else "none" if argument.default is None else f"{argument.default}"
    )
    if isinstance(argument.default, int) and argument.default > 9_999:
        default = _spaced(argument.default)
    if argument.type is int:
        return "integer", default, f"{_spaced(argument.minimum)} to {_spaced(argument.maximum)}"
    if argument.type is dict:
        return "object of strings", default, f"{MAX_MEMBERS} members, to {_spaced(argument.max_length)}"
    return "string", default, f"to {_spaced(argument.max_length)}"


def _spaced(number: int | None) -> str:
    return f"{number:,}".replace(",", " ")
