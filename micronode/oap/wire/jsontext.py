"""JSON text, compact, by the standard library's own C encoder and scanner, with nothing around them.

``JSONEncoder.encode`` makes an encoder for each text, and ``JSONDecoder.decode`` looks for blanks before and
behind it; on a small text both spend most of their time with that.
"""

from __future__ import annotations

import json.encoder
from collections.abc import Callable, Mapping
from typing import Any


def make_encoder(*, ascii_only: bool) -> Callable[[Mapping[str, Any]], str]:
    """Return what writes a dict as JSON, without blanks.

    :param ascii_only: whether all else is escaped.
    :return: it raises ValueError for what no JSON has (NaN, infinities), and TypeError for objects of no kind
        that it has.
    """
    encoder = json.JSONEncoder(ensure_ascii=ascii_only, separators=(",", ":"), allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    text = json.encoder.encode_basestring_ascii if ascii_only else json.encoder.encode_basestring
    encode = make(None, encoder.default, text, None, ":", ",", False, False, False)
    join = "".join
    return lambda value: join(encode(value, 0))


def make_decoder(**hooks: Any) -> Callable[[str], Any]:
    """Return what reads a text as ``json.JSONDecoder(**hooks).decode`` does, its errors included."""
    decoder = json.JSONDecoder(**hooks)
    scan, decode = decoder.scan_once, decoder.decode  # type: ignore[attr-defined]  # typeshed has it not

    def read(text: str) -> Any:
        try:
            value, end = scan(text, 0)
        except StopIteration:
            return decode(text)
        # There are blanks around it, or what does not belong there.
        return value if end == len(text) else decode(text)

    return read
