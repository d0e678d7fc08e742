"""From what a person typed to an FTS5 query: no input can become syntax, none is an error."""

from __future__ import annotations

from typing import Final

#: More words narrow nothing down and cost time each.
MAX_TERMS: Final = 16
MAX_TERM_CHARS: Final = 64


def terms(text: str) -> list[str]:
    """Return the words of *text* worth looking for, in order, each once.

    A word without a letter or digit is dropped: FTS5 makes a phrase without tokens of it, and that
    matches nothing.
    """
    words: dict[str, None] = {}
    for piece in text.split():
        word = "".join(character for character in piece if character.isprintable())[:MAX_TERM_CHARS]
        if any(character.isalnum() for character in word):
            words.setdefault(word)
            if len(words) == MAX_TERMS:
                break
    return list(words)


def fts_queries(text: str) -> list[str]:
    """Return the FTS5 queries to try until one has a hit: all words, then any of them.

    Each word is a quoted string, in which FTS5 knows one special character, the quote itself. The last
    word may be the beginning of one, as it is while somebody types.
    """
    quoted = ['"' + word.replace('"', '""') + '"' for word in terms(text)]
    if not quoted:
        return []
    quoted[-1] += "*"
    return [" AND ".join(quoted)] + ([" OR ".join(quoted)] if len(quoted) > 1 else [])
