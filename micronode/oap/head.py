"""The head of an answer as JSON, checked where an owner has a say in it. ``specs/oap-1.md`` section 5."""

from __future__ import annotations

from typing import Any, Final

from micronode.calls.call import ResponseHead
from micronode.oap.wire.heads import dump_object

#: What an owner has a say in; a longer text is no honest one.
_MAX_TEXT: Final = 2_048
#: Bytes a character has in JSON at most, and all of a head but its texts: below that nothing is measured.
_MAX_LETTER: Final = 12
_OTHER_BYTES: Final = 256
#: Statuses of answers without a body (RFC 9110 section 6.4.1).
BODILESS: Final = frozenset((204, 304))


def head_fields(head: ResponseHead, max_bytes: int) -> dict[str, Any] | None:
    """Return the members of a response head; None where an owner's texts are not fit for it.

    It is measured here, since it may be sent where no call can fail any more.

    :param max_bytes: how long it may be as JSON.
    """
    fields: dict[str, Any] = {"status": head.status}
    letters = 0
    for name, text in (("content_type", head.content_type), ("etag", head.etag), ("range", head.range)):
        if text is not None:
            if len(text) > _MAX_TEXT or not text.isprintable():
                return None
            letters += len(text)
            fields[name] = text
    if head.length is not None:
        fields["length"] = head.length
    if head.verified is not None:
        fields["verified"] = head.verified
    if letters * _MAX_LETTER + _OTHER_BYTES > max_bytes and len(dump_object(fields)) > max_bytes:
        return None
    return fields
