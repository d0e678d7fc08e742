"""Configuration from anywhere, through the commands: an answer or a refusal in lines, never a traceback.

What is fed in is what a user can reach: bytes of files, variables of any bytes, words of a command line.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from micronode.cli.main import main
from micronode.config.kinds import Kind
from micronode.config.schema import KEYS, PROFILES
from tests.config.samples import ROWS, companions, other
from tests.property.test_config import ANY_TEXT, FILES, NAMES, NEARLY, PATHS, VALUES

#: What a process cannot be started with.
_IMPOSSIBLE = re.compile("[\0]")
#: Where a refusal may say that something is. Files of these tests are called f.toml and f1.toml.
_PLACE = re.compile(
    r"f1?\.toml:[1-9][0-9]*|env MICRONODE_.*|flag --[a-z].*|profile (?:none|dev)"
    r"|(?:[a-z_]+\.)+[a-z_]+",  # a default that does not fit to what was set: the key's own name
    re.DOTALL,
)


@attrs.frozen
class Ended:
    """How a command ended, and what it said."""

    code: int
    printed: str
    complained: str


def run(folder: Path, environ: Mapping[str, str], argv: Sequence[str]) -> Ended:
    """Run ``micronode ARGV`` in this process, standing in *folder*, with *environ* alone."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    # As Python's own standard error is: it takes every character.
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    stdin = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before = os.getcwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(os, "environ", dict(environ)),
            mock.patch.multiple(sys, stdin=stdin, stdout=out, stderr=err),
        ):
            code = main(list(argv))
    finally:
        os.chdir(before)
    printed, complained = (stream.buffer.getvalue().decode("utf-8") for stream in (out, err))
    return Ended(code, printed, complained)


def check_refusal(ended: Ended) -> None:
    """A refusal is lines for people, each with its place, and says nothing else."""
    assert ended.code in (64, 78), ended
    assert ended.complained.endswith("\n")
    for line in ended.complained.splitlines():
        assert line.startswith("micronode: "), line
        assert line.isprintable(), line
        assert len(line) < 4000
        if ended.code == 64:
            assert re.search(r"; see micronode [a-z ]+ --help$", line), line


POSSIBLE = ANY_TEXT.map(lambda text: _IMPOSSIBLE.sub("", text))
VALUE_WORDS = VALUES.map(lambda text: _IMPOSSIBLE.sub("", text))
ENVIRON = st.dictionaries(
    NAMES.map(lambda name: re.sub("[\0=]", "", name)).filter(bool), VALUE_WORDS, max_size=4
)
#: Options with what follows them; not ``--deep``, which would ask owners.
OPTIONS = st.one_of(
    st.builds(lambda path, value: ["--set", f"{path}={value}"], st.one_of(PATHS, NEARLY), VALUE_WORDS),
    st.builds(
        lambda name, value: [f"--{name}", value],
        st.sampled_from(["http", "admin", "oap", "profile", "pq", "log-level", "facets", "set"]),
        VALUE_WORDS,
    ),
    st.sampled_from(
        [["--amnesia"], ["--no-amnesia"], ["--json"], ["--"], ["--config"], ["--set"], ["--htp", "x"]]
    ),
    st.sampled_from(
        [["--config", "f.toml"], ["--config", "f1.toml"], ["f.toml"], ["--config", "nowhere"], ["-"]]
    ),
    POSSIBLE.filter(lambda word: not word.startswith("-")).map(lambda word: [word]),
    POSSIBLE.map(lambda word: ["--config", word]),
).map(lambda words: [_IMPOSSIBLE.sub("", word) for word in words])
ARGV = st.lists(OPTIONS, max_size=4).map(lambda lists: [word for words in lists for word in words])
COMMANDS = st.sampled_from(
    [("check",), ("check", "--json"), ("config", "show"), ("config", "show", "--json")]
)
#: A file as bytes: text, text that somebody has cut or overwritten, or anything.
MUTATED = st.builds(
    lambda texts, at, junk, cut: (
        "\n".join(texts).encode("utf-8", "surrogatepass")[:at]
        + junk
        + "\n".join(texts).encode("utf-8", "surrogatepass")[at + cut :]
    ),
    FILES,
    st.integers(0, 60),
    st.binary(max_size=4),
    st.integers(0, 8),
)
CONTENTS = st.one_of(
    FILES.map(lambda texts: "\n".join(texts).encode("utf-8", "surrogatepass")),
    MUTATED,
    st.binary(max_size=60),
)
INCLUDED = st.one_of(
    st.just(b""), st.just(b'include = ["f1.toml"]\n'), st.just(b'include = ["f.toml", "../x", ""]\n')
)


@settings(max_examples=400, deadline=None)
@given(COMMANDS, ARGV, ENVIRON, INCLUDED, CONTENTS, CONTENTS)
def test_any_overlay_ends_in_an_answer_or_in_lines(
    command: tuple[str, ...],
    argv: list[str],
    environ: dict[str, str],
    include: bytes,
    content: bytes,
    included: bytes,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "f.toml").write_bytes(include + content)
        (Path(folder) / "f1.toml").write_bytes(included)
        environ = {"MICRONODE_CONFIG": "f.toml"} | environ
        ended = run(Path(folder), environ, [*command, *argv])
        assert ended.code in (0, 64, 78), ended
        assert "Traceback" not in ended.complained
        if ended.code == 0:
            assert all(line.startswith("micronode: warning: ") for line in ended.complained.splitlines())
            assert ended.printed
        elif not ended.printed:
            check_refusal(ended)
        if ended.code == 78:
            # The same in parts, for scripts: every one has a place.
            said = ended.printed or run(Path(folder), environ, ["check", "--json", *argv]).printed
            answer = json.loads(said)
            assert answer["problems"]
            assert not answer["ok"]
            for problem in answer["problems"]:
                assert _PLACE.fullmatch(problem["where"]), problem
                assert problem["what"]
                assert problem["fix"]
        # And again: nothing of it depends on the time, or on what was asked before.
        assert run(Path(folder), environ, [*command, *argv]) == ended


#: From the weakest to the strongest, above the default.
LAYERS = ("profile", "included", "file", "env", "flag")
SETTABLE = sorted(path for path in ROWS if path != "node.profile")


def _words(path: str, layer: str) -> str:
    """Return how ``config show`` names *layer* as the source of *path*, a line's number left out."""
    return {
        "profile": "profile dev",
        "included": "f1.toml",
        "file": "f.toml",
        "env": f"env {KEYS[path].variable}",
        "flag": f"flag --set {path}",
    }[layer]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(SETTABLE), st.sets(st.sampled_from(LAYERS[1:]), min_size=1), max_size=5),
    st.booleans(),
    st.data(),
)
def test_the_strongest_layer_wins_whatever_else_is_set(
    layers: dict[str, set[str]], with_profile: bool, data: st.DataObject
) -> None:
    files: dict[str, list[str]] = {"file": ['include = ["f1.toml"]'], "included": []}
    environ = {"MICRONODE_CONFIG": "f.toml"}
    argv = ["--profile", "dev"] if with_profile else []
    expected: dict[str, tuple[Any, str]] = {}
    for path, set_in in layers.items():
        row = KEYS[path]
        for layer in sorted(set_in, key=LAYERS.index):
            value = other(row) if row.kind is Kind.FILE or data.draw(st.booleans()) else row.default
            if layer in files:
                files[layer].append(f"{path} = {row.toml(value)}")
            elif layer == "env":
                environ[row.variable] = row.show(value)
            else:
                argv += ["--set", f"{path}={row.show(value)}"]
            expected[path] = (row.show(value), _words(path, layer))
        # What it cannot be without stands in the weakest file, unless the draw has it already.
        for each, value in companions(row).items():
            if each not in layers:
                files["included"].append(f"{each} = {KEYS[each].toml(value)}")
    if with_profile:
        for path, value in PROFILES["dev"].items():
            known = any(line.startswith(f"{path} = ") for line in files["included"])
            if path not in expected and not known:
                expected[path] = (KEYS[path].show(value), "profile dev")
    with tempfile.TemporaryDirectory() as folder:
        # Two keys may have the same companion.
        (Path(folder) / "f.toml").write_text("\n".join(files["file"]), "utf-8")
        (Path(folder) / "f1.toml").write_text("\n".join(dict.fromkeys(files["included"])), "utf-8")
        ended = run(Path(folder), environ, ["config", "show", "--json", *argv])
    if ended.code:
        # Only what does not fit together, which precedence cannot mend.
        assert ended.code == 78, ended
        for line in ended.complained.splitlines():
            assert any(word in line for word in (" without ", " while ", " is set, ")), line
        return
    shown = json.loads(ended.printed)["keys"]
    for path, (value, source) in expected.items():
        place = re.sub(r":[0-9]+\Z", "", shown[path]["source"])
        assert place == source, (path, shown[path], source)
        assert KEYS[path].show(KEYS[path].read(_plain(shown[path]["value"]))) == value, path


def _plain(value: Any) -> Any:
    """Return what JSON has of a value as the schema reads it: an absent one is an empty text."""
    return "" if value is None else value
