"""Small answers that are whole at once: what the admin plane says."""

from __future__ import annotations

from typing import Any, Final

from micronode.calls.call import ResponseHead
from micronode.http.request import Request
from micronode.http.response import JSON, json_bytes

#: What is true now must not come from a cache.
_NO_STORE: Final = ("Cache-Control", "no-store")


def answer(
    request: Request,
    body: bytes,
    *,
    status: int = 200,
    content_type: str = JSON,
    headers: tuple[tuple[str, str], ...] = (),
) -> None:
    """Answer *request* with *body*, which no cache may keep."""
    sink = request.sink
    sink.start(
        ResponseHead(
            status=status, content_type=content_type, length=len(body), headers=(_NO_STORE, *headers)
        )
    )
    sink.write(body)
    sink.finish()


def answer_json(
    request: Request, value: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> None:
    """Answer *request* with *value* as JSON, which no cache may keep."""
    answer(request, json_bytes(value), status=status, headers=headers)
