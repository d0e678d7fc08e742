"""Configuration from anywhere: a refusal in lines or a configuration, and always the same precedence."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from micronode.config.documents import Document
from micronode.config.kinds import Key, Kind
from micronode.config.problems import ConfigError
from micronode.config.schema import KEYS, PROFILES, Config
from micronode.config.shown import shown_as_json, shown_as_toml
from micronode.config.sources import Flag, Loaded, merge
from tests.config.samples import ROWS, companions, other

#: Text as the system hands it over: any characters, also bytes that are no UTF-8.
ANY_TEXT = st.text(st.characters(), max_size=40)
PATHS = st.sampled_from([*KEYS, "facets.own.kind", "facets.own.limit", "facets.own.routes"])
NEARLY = st.builds(lambda path, at, to: path[:at] + to + path[at:], PATHS, st.integers(0, 20), ANY_TEXT)
#: What people write as values, in every form, right or wrong.
WORDS = st.sampled_from(
    [row.show(value) for row in ROWS.values() for value in (row.default, other(row))]
    + [
        "",
        "0",
        "-1",
        "5",
        "5s",
        "1h",
        "9" * 30,
        "1e9",
        "64KiB",
        "1.5GiB",
        "true",
        "off",
        "nan",
        "unix:/x",
        ",",
    ]
)
VALUES = st.one_of(WORDS, ANY_TEXT)
FLAGS = st.lists(
    st.builds(Flag, st.one_of(PATHS, NEARLY, ANY_TEXT), VALUES, st.just("flag --set x")), max_size=4
)
NAMES = st.one_of(
    st.sampled_from([row.variable for row in KEYS.values()]),
    st.sampled_from(
        ["MICRONODE_FACETS_OWN_KIND", "MICRONODE_PORT_1", "MICRONODE_SERVICE_HOST", "MICRONODE_"]
    ),
    ANY_TEXT.map(lambda text: f"MICRONODE_{text}"),
)
ENVIRON = st.dictionaries(NAMES, VALUES, max_size=4)
TOML = st.recursive(
    st.one_of(VALUES, st.booleans(), st.integers(), st.floats(allow_nan=True)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY_TEXT, inner, max_size=3)),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """Write *value* as TOML, as well as it can be."""
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode())
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(name)} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value).lower()


LINES = st.one_of(
    st.builds(lambda path, value: f"{path} = {toml(value)}", PATHS, TOML),
    st.builds(lambda path, value: f"{path} = {value}", NEARLY, VALUES),
    PATHS.map(lambda path: f"[{path.rpartition('.')[0]}]"),
    ANY_TEXT,
)
FILES = st.lists(st.one_of(st.lists(LINES, max_size=5).map("\n".join), ANY_TEXT), max_size=2)


def merged(
    files: list[str], environ: dict[str, str], flags: list[Flag], to_run: bool
) -> Loaded | ConfigError:
    """Merge; anything but a refusal is a failure of the test."""
    documents = [Document.parse(f"f{number}", text) for number, text in enumerate(files)]
    try:
        return merge(flags=flags, environ=environ, documents=documents, to_run=to_run)
    except ConfigError as error:
        return error


@settings(max_examples=400, deadline=None)
@given(FILES, ENVIRON, FLAGS, st.booleans())
def test_anything_is_taken_or_refused_in_lines(
    files: list[str], environ: dict[str, str], flags: list[Flag], to_run: bool
) -> None:
    result = merged(files, environ, flags, to_run)
    if isinstance(result, ConfigError):
        assert result.problems
        for problem in result.problems:
            assert problem.where
            assert problem.fix
            line = str(problem)
            assert "\n" not in line
            assert len(line) < 4000
        return
    config = result.config
    assert {source.split(" ")[0].split(":")[0] for source in config.sources.values()} <= {
        *("f0", "f1", "env", "flag", "profile")
    }
    # What is shown can be read again, and is the same.
    again = merge(documents=[Document.parse("again", shown_as_toml(config))]).config
    assert (again, again.sha()) == (config, config.sha())
    json.dumps(shown_as_json(config))
    assert Config.from_mapping(json.loads(json.dumps(config.as_dict()))) == config


#: From the weakest to the strongest.
LAYERS = ("default", "profile", "file 0", "file 1", "env", "flag")
PLAIN = [path for path in ROWS if path != "node.profile"]


def _source(layer: str, row: Key) -> str:
    return {
        "default": "default",
        "profile": "profile dev",
        "file 0": "f0:1",
        "file 1": "f1:1",
        "env": f"env {row.variable}",
        "flag": "flag --set x",
    }[layer]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLAIN), st.sets(st.sampled_from(LAYERS[1:])), st.data())
def test_precedence_is_always_the_same(path: str, layers: set[str], data: st.DataObject) -> None:
    row = KEYS[path]
    values = {
        layer: other(row) if row.kind is Kind.FILE or data.draw(st.booleans()) else row.default
        for layer in layers
    }
    files = [f"{path} = {row.toml(values[f])}" if f in values else "" for f in ("file 0", "file 1")]
    beside = "\n".join(f"{each} = {KEYS[each].toml(value)}" for each, value in companions(row).items())
    environ = {row.variable: row.show(values["env"])} if "env" in values else {}
    flags = [Flag(path, row.show(values["flag"]), "flag --set x")] if "flag" in values else []
    if "profile" in layers:
        flags.append(Flag("node.profile", "dev", "flag --profile"))
    documents = [
        Document.parse(name, text) for name, text in (("beside", beside), ("f0", files[0]), ("f1", files[1]))
    ]
    in_profile = "profile" in layers and path in PROFILES["dev"]
    strongest = max(layers - ({"profile"} if not in_profile else set()), key=LAYERS.index, default="default")
    expected = {"default": row.default, "profile": PROFILES["dev"].get(path)}.get(
        strongest, values.get(strongest)
    )
    try:
        config = merge(flags=flags, environ=environ, documents=documents).config
    except ConfigError as error:
        # Only what does not fit together is refused, which precedence cannot mend.
        unfit = (" without ", " while ", " is set, ")
        if any(not any(word in each.what for word in unfit) for each in error.problems):
            raise
        return
    assert config.values()[path] == expected
    assert config.source(path) == _source(strongest, row)
