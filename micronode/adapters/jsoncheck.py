"""Whether bytes are a JSON object; what it says is not looked at.

Numbers are left as they are: reading a long one would take time that grows with its square.
"""

from __future__ import annotations

from typing import Final

from micronode.oap.wire.jsontext import make_decoder


def _refuse(name: str) -> None:
    """NaN and the infinities are none of JSON's (RFC 8259 section 6)."""
    raise ValueError(name)


_decode: Final = make_decoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def is_json_object(data: bytes) -> bool:
    """Tell whether *data* is one JSON object in UTF-8, not nested deeper than Python's stack allows."""
    try:
        return isinstance(_decode(data.decode("utf-8")), dict)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return False
