"""What the built-in facets answer, for documents: the shapes of ``docs/architecture.rst``, "Owner services".

Graph and search pass their owner's JSON on as it is, so theirs are what an owner has to say, not what the
node has seen to.
"""

from __future__ import annotations

from typing import Any, Final

from micronode.calls.answers import Answer, list_of, object_of

#: An address, as a regular expression of JSON Schema.
CID: Final = "^b3:[0-9a-f]{64}$"
#: What ``graph.resolve`` looks up.
KEY: Final = r"^(name:[^\u0000]+|b3:[0-9a-f]{64})$"

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_ADDRESS: Final = {"type": "string", "pattern": CID}
_PROVIDERS: Final = list_of(object_of(id=_TEXT, region=_TEXT, score=_NUMBER))
_TAG: Final = {"type": "string", "pattern": '^"[0-9a-f]{64}"$'}
_OBJECT: Final[dict[str, Any]] = {
    "Accept-Ranges": {"const": "bytes"},
    "Content-Security-Policy": {"const": "sandbox"},
    "ETag": _TAG,
}

FOUND: Final = Answer(
    doc="The hits, best first.",
    schema=object_of(
        query=_TEXT,
        hits=list_of(object_of(id=_TEXT, title=_TEXT, snippet=_TEXT, score=_NUMBER)),
        total=_COUNT,
    ),
)
RESOLVED: Final = Answer(
    doc="What the key stands for.", schema=object_of(key=_TEXT, manifest=_ADDRESS, providers=_PROVIDERS)
)
PROVIDERS: Final = Answer(doc="Who has it.", schema=object_of(cid=_ADDRESS, providers=_PROVIDERS))
NEIGHBORS: Final = Answer(
    doc="The nodes around it.",
    schema=object_of(node=_TEXT, neighbors=list_of(object_of(id=_TEXT, kind=_TEXT, hops=_COUNT))),
)
#: A whole object; its digest is checked while it streams.
OBJECT: Final = Answer(
    doc="The object. Its digest is checked while it streams; if it is wrong the body breaks off.",
    content="*/*",
    headers=_OBJECT | {"X-Micronode-Verified": {"const": "true"}},
)
PART: Final = Answer(
    status=206,
    doc="The range that was asked for, which nothing can be checked against.",
    content="*/*",
    headers=_OBJECT | {"Content-Range": _TEXT, "X-Micronode-Verified": {"const": "false"}},
)
OBJECT_HEAD: Final = Answer(doc="There is such an object.", content=None, headers=_OBJECT)
NOT_MODIFIED: Final = Answer(
    status=304, doc="The caller has it already.", content=None, headers={"ETag": _TAG}
)
STORED: Final = Answer(status=201, doc="It is stored.", schema=object_of(cid=_ADDRESS))
_NOT_KEPT: Final = {"Cache-Control": {"const": "no-store"}}
_SENT: Final[dict[str, Any]] = {"msg_id": {"type": "string", "minLength": 1, "maxLength": 128}}
SENT: Final = Answer(
    status=201,
    doc="It is in the mailbox.",
    schema=object_of(**_SENT, duplicate={"const": False}),
    headers=_NOT_KEPT,
)
SENT_BEFORE: Final = Answer(
    doc="It was in the mailbox before, under this key.",
    schema=object_of(**_SENT, duplicate={"const": True}),
    headers=_NOT_KEPT,
)
_MESSAGE: Final[dict[str, Any]] = {
    "msg_id": _TEXT,
    "ts": _NUMBER,
    "attempt": {"type": "integer", "minimum": 1},
    "attrs": {"type": "object", "additionalProperties": _TEXT},
    "payload_b64": {"type": "string", "contentEncoding": "base64"},
}
MESSAGES: Final = Answer(
    doc="Messages, perhaps none, which are the caller's alone for a time.",
    schema=object_of(messages=list_of(object_of(topic=_TEXT, **_MESSAGE))),
    headers=_NOT_KEPT,
)
SUBSCRIBED: Final = Answer(
    doc="Messages, each an event whose id is its msg_id, as long as the caller stays.",
    content="text/event-stream",
    schema=object_of(**_MESSAGE),
    headers=_NOT_KEPT,
)
NO_CONTENT: Final = Answer(status=204, doc="Done.", content=None)
