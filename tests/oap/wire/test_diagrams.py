"""``docs/diagrams/`` shows the state tables as they are."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.states import STREAM, StreamInput, StreamState
from tests.support.make_diagrams import DIAGRAMS, FOLDER, Diagram, digest, dot, main, mermaid, write
from tests.support.tools import require_tool

ADVICE = "is stale: bin/gen_diagrams.sh"
_MADE_OF = re.compile(r"<!-- made by bin/gen_diagrams\.sh of (\w+) -->")


def _texts(svg: str) -> list[str]:
    return [
        element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def _is_stale(diagram: Diagram, text: str, picture: str) -> bool:
    """Whether what was committed was made of another table."""
    return text != mermaid(diagram) or _MADE_OF.findall(picture) != [digest(diagram)]


def _committed(diagram: Diagram) -> tuple[str, str]:
    text, picture = ((FOLDER / f"{diagram.name}.{kind}").read_text("utf-8") for kind in ("mmd", "svg"))
    return text, picture


def _changes(diagram: Diagram) -> Iterator[tuple[str, Diagram]]:
    """Yield *diagram* of each table that differs from its own in one pair."""
    for (state, given), after in diagram.moves.items():
        rest = {pair: to for pair, to in diagram.moves.items() if pair != (state, given)}
        where = f"{given.name} in {state.name}"
        yield f"no {where}", replace(diagram, moves=rest)
        other = next(to for to in diagram.states if to is not after)
        yield f"{where} leads elsewhere", replace(diagram, moves={**rest, (state, given): other})


class DiagramTests(SynchronousTestCase):
    def test_nothing_is_stale(self) -> None:
        for diagram in DIAGRAMS:
            self.assertFalse(_is_stale(diagram, *_committed(diagram)), f"{diagram.name} {ADVICE}")

    def test_nothing_else_is_there(self) -> None:
        names = {f"{diagram.name}.{kind}" for diagram in DIAGRAMS for kind in ("mmd", "svg")}
        self.assertEqual({path.name for path in FOLDER.iterdir()}, names)

    def test_any_change_of_a_table_shows(self) -> None:
        for diagram in DIAGRAMS:
            committed = _committed(diagram)
            for what, changed in _changes(diagram):
                self.assertNotEqual(mermaid(changed), mermaid(diagram), what)
                self.assertNotEqual(dot(changed), dot(diagram), what)
                self.assertTrue(_is_stale(changed, *committed), what)
        stream = DIAGRAMS[1]
        added = {**STREAM, (StreamState.OWED, StreamInput.RECEIVE_CANCEL): StreamState.OWED}
        self.assertTrue(_is_stale(replace(stream, moves=added), *_committed(stream)))

    def test_the_text_has_the_table(self) -> None:
        """Read back, the committed text is the table: nothing is left out, nothing is invented."""
        for diagram in DIAGRAMS:
            found = {
                (before, given): after
                for before, after, inputs in re.findall(
                    r"^    (\w+) --> (\w+) : (.+)$", _committed(diagram)[0], re.M
                )
                for given in inputs.split(", ")
            }
            table = {
                (before.name, given.name): after.name for (before, given), after in diagram.moves.items()
            }
            self.assertEqual(found, table)

    def test_the_picture_says_everything(self) -> None:
        for diagram in DIAGRAMS:
            self._assert_drawn(diagram, _committed(diagram)[1])

    def test_drawn_anew(self) -> None:
        """Graphviz takes the sources, and drawing twice writes the same bytes."""
        require_tool("dot")
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            write(Path(one))
            write(Path(two) / "new")
            for diagram in DIAGRAMS:
                texts = [(Path(one) / f"{diagram.name}.{kind}").read_text("utf-8") for kind in ("mmd", "svg")]
                again = [
                    (Path(two) / "new" / f"{diagram.name}.{kind}").read_text("utf-8")
                    for kind in ("mmd", "svg")
                ]
                self.assertEqual(texts, again)
                self.assertFalse(_is_stale(diagram, *texts))
                self._assert_drawn(diagram, texts[1])

    def _assert_drawn(self, diagram: Diagram, svg: str) -> None:
        inputs = [given.name for _, given in diagram.moves]
        states = [state.name for state in diagram.states]
        begins = [f" {why}" for why in diagram.begins.values()]
        self.assertEqual(
            sorted(text.strip() for text in _texts(svg)),
            sorted(text.strip() for text in (diagram.title, *states, *inputs, *begins)),
        )
        # On a dark page the dark letters need the picture's own ground.
        self.assertRegex(svg, r'<polygon fill="white"')


class CommandTests(SynchronousTestCase):
    def test_says_what_it_wrote(self) -> None:
        require_tool("dot")
        said = io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
            main([folder])
            written = sorted(map(str, Path(folder).iterdir()))
        self.assertEqual(sorted(said.getvalue().splitlines()), written)

    def test_help_and_what_is_no_folder(self) -> None:
        for argv, code, words in (
            (["--help"], 0, "usage: bin/gen_diagrams.sh"),
            (["--folder"], 2, "usage: bin/gen_diagrams.sh"),
            (["/dev/null/x"], 1, "bin/gen_diagrams.sh: /dev/null/x: Not a directory"),
        ):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                ended = self.assertRaises(SystemExit, main, argv)
            self.assertEqual(ended.code, code)
            self.assertIn(words, said.getvalue())
