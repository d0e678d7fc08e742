"""What is wrong with a configuration, in words: where, what, and how to put it right.

Text only. Every line that a user sees about a mistake is made of these, so that none lacks its place or
its fix, and none repeats what may be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

#: What stands before an @ in a URL may be a password, whatever is in it, and errors end up in journals.
_CREDENTIALS: Final = re.compile(r"(://).*@", re.DOTALL)
_SHOWN: Final = 60
#: Similar enough to be a typing error, as difflib counts it.
_SIMILAR: Final = 0.6


@attrs.frozen
class Problem:
    """One thing wrong: *where* (file and line, variable, flag or key), *what*, and how to *fix* it."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        where = "" if self.what.startswith(self.where) else f"{self.where}: "
        return f"{where}{self.what}; {self.fix}"


class ConfigError(Exception):
    """The configuration is refused. It names every problem found, not just the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class RefusedError(ValueError):
    """A value does not fit its key: *what* is wrong with it, and the *fix*.

    :ivar others: what else is wrong with the same value.
    """

    def __init__(self, what: str, fix: str, others: Sequence[RefusedError] = ()) -> None:
        super().__init__(f"{what}; {fix}")
        self.what = what
        self.fix = fix
        self.others = tuple(others)

    @classmethod
    def of(cls, refused: Sequence[RefusedError]) -> RefusedError:
        """Return one that tells all of *refused*, which are some, each alone so far or with others."""
        first, *rest = (each for error in refused for each in (error, *error.others))
        return cls(first.what, first.fix, rest)

    def problems(self, where: str) -> Iterator[Problem]:
        """Yield what is wrong at *where*."""
        for each in (self, *self.others):
            yield Problem(where, each.what, each.fix)


def shorten(value: Any) -> str:
    """Return *value* as TOML or Python writes it, cut, and without what may be a password."""
    if isinstance(value, bool):
        return str(value).lower()
    text = _CREDENTIALS.sub(r"\1...@", repr(value[:1000] if isinstance(value, str) else value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def printable(name: str) -> str:
    """Return *name* (of a file, a variable) fit for one line of output, whatever bytes are in it."""
    return name if name.isprintable() else repr(name)[1:-1]


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return which *known* word was probably meant; case and the kind of dash do not matter."""
    words = {each.lower().replace("-", "_"): each for each in known}
    plain = word[:100].lower().replace("-", "_")
    close = difflib.get_close_matches(plain, words, n=1, cutoff=_SIMILAR)
    return words[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean X?)"`` when *word* resembles something *known*, else nothing."""
    return meant(closest(word, known))


def meant(word: str | None) -> str:
    """Return ``" (did you mean X?)"``, or nothing for None."""
    return "" if word is None else f" (did you mean {word}?)"
