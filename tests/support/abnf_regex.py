"""The ABNF of ``specs/oap-1.md``, as regular expressions over bytes.

The package ``abnf`` reads the grammar, by the grammar that RFC 5234 and RFC 7405 give of themselves. Its own
matcher keeps a node an octet and tries what is ambiguous one by one (a capability, then a head: half a
minute for 1 KB), so the rules, of which none is recursive, are made into expressions of ``re`` instead.
``tests/oap/wire/test_abnf.py`` compares the two matchers where frames are small.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from abnf.parser import ABNFGrammarRule

SPECIFICATION = Path(__file__).resolve().parents[2] / "specs" / "oap-1.md"

#: RFC 5234, appendix B.1; those that the grammar uses.
_CORE = {
    "ALPHA": "[A-Za-z]",
    "DIGIT": "[0-9]",
    "HEXDIG": "[0-9A-Fa-f]",
    "OCTET": r"[\x00-\xff]",
    "VCHAR": r"[\x21-\x7e]",
}
_BLOCK = re.compile(r"^```abnf\n(.*?)^```$", re.M | re.S)
_REPEAT = re.compile(r"(\d*)(\*?)(\d*)")
_BASES = {"b": 2, "d": 10, "x": 16}


@cache
def grammar() -> str:
    """Return the ABNF that the specification prints, with the line ends that RFC 5234 wants."""
    return "".join(_BLOCK.findall(SPECIFICATION.read_text("utf-8"))).replace("\n", "\r\n")


class Grammar:
    """The rules of an ABNF text.

    :ivar names: the names of the rules, in their order.
    :raises abnf.ParseError: from the constructor: the text is no ABNF.
    """

    def __init__(self, text: str) -> None:
        self._elements: dict[str, Any] = {}
        for rule in _named(ABNFGrammarRule("rulelist").parse_all(text), "rule"):
            name, defined, elements = (
                _named(rule, part)[0] for part in ("rulename", "defined-as", "elements")
            )
            if name.value in self._elements or defined.value.strip() != "=":
                raise ValueError(f"{name.value} is defined twice")
            self._elements[name.value] = _named(elements, "alternation")[0]
        self.names = list(self._elements)

    def uses(self, name: str) -> set[str]:
        """Return the names that stand in the definition of the rule *name*."""
        return {node.value for node in _everywhere(self._elements[name], "rulename")}

    def pattern(self, name: str, tokens: Mapping[str, str] | None = None) -> str:
        """Return the expression of the rule *name*.

        :param tokens: rules that count as one character each, and which.
        :raises KeyError: a rule that is nowhere defined.
        """
        if tokens and name in tokens:
            return re.escape(tokens[name])
        if name in _CORE:
            return _CORE[name]
        return self._translate(self._elements[name], tokens)

    def compile(self, name: str) -> re.Pattern[bytes]:
        """Return the expression of the rule *name*, over bytes."""
        return re.compile(self.pattern(name).encode("latin-1"))

    def _translate(self, node: Any, tokens: Mapping[str, str] | None) -> str:
        def inside(kinds: Iterable[str]) -> list[str]:
            return [self._translate(child, tokens) for kind in kinds for child in _named(node, kind)]

        match node.name:
            case "alternation":
                return "(?:" + "|".join(inside(["concatenation"])) + ")"
            case "concatenation":
                return "".join(inside(["repetition"]))
            case "repetition":
                [element] = inside(["element"])
                repeats = _named(node, "repeat")
                return f"(?:{element}){_times(repeats[0].value)}" if repeats else element
            case "element" | "group":
                [inner] = inside(
                    ["rulename", "group", "option", "char-val", "num-val", "prose-val", "alternation"]
                )
                return inner
            case "option":
                [inner] = inside(["alternation"])
                return f"(?:{inner})?"
            case "rulename":
                return self.pattern(node.value, tokens)
            case "num-val":
                return _number(node.value)
            case "char-val":
                return _text(node.value)
        raise ValueError(f"{node.name} says nothing about octets: {node.value}")


def _named(node: Any, name: str) -> list[Any]:
    return [child for child in node.children if child.name == name]


def _everywhere(node: Any, name: str) -> list[Any]:
    found = [node] if node.name == name else []
    return found + [each for child in node.children for each in _everywhere(child, name)]


def _times(repeat: str) -> str:
    found = _REPEAT.fullmatch(repeat)
    assert found is not None
    least, star, most = found.groups()
    return f"{{{least or 0},{most}}}" if star else f"{{{least}}}"


def _number(text: str) -> str:
    """Return the expression of ``%x0D``, ``%x0D.0A`` or ``%x30-39``."""
    base = _BASES[text[1].lower()]
    if "-" in text:
        low, high = (f"\\x{int(digits, base):02x}" for digits in text[2:].split("-"))
        return f"[{low}-{high}]"
    return "".join(f"\\x{int(digits, base):02x}" for digits in text[2:].split("."))


def _text(text: str) -> str:
    """Return the expression of a quoted text; without ``%s`` its letters are of either case."""
    letters = re.escape(text[text.index('"') + 1 : -1])
    return letters if text.lower().startswith("%s") else f"(?i:{letters})"
