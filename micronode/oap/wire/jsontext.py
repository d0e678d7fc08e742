"""Compact JSON text by the standard library's own C encoder, made once.

``JSONEncoder.encode`` makes another one for each text, which takes longer than a small text does.
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
