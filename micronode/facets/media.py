"""The media facet: content-addressed objects of the storage owner, and the overlay's, checked on their way.

A whole object is checked against its address (:meth:`~micronode.interfaces.IOwnerReply.checked`); one
range of it cannot be, and is marked ``verified: false``. What is put is hashed on its way, and the
address the owner gives for it must be that of those bytes. ``specs/oap-1.md`` section 6.
"""

from __future__ import annotations

import re
from typing import Any, Final

from zope.interface import implementer

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.errors import ErrorCode, NodeError
from micronode.facets.answers import CID, NOT_MODIFIED, OBJECT, OBJECT_HEAD, PART, STORED
from micronode.facets.cid import make_cid, parse_cid
from micronode.facets.conditions import names_tag, object_size, part_matches, single_range
from micronode.facets.hashing import HashedBody
from micronode.facets.objects import Overlay, find_object
from micronode.facets.replies import JSON, HeldBody, read_object, refusal
from micronode.interfaces import IFacet, IOwnerReply, IStorageOwner
from micronode.oap.wire.profiles import Profile

OCTETS: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:[ \t]*;[\x20-\x7e\t]*)?", re.ASCII)
#: What a browser may show in place; anything else it saves.
_SHOWN: Final = re.compile(r"(?:image|audio|video)/|text/plain(?:[ \t;]|\Z)", re.IGNORECASE)
_MESSAGES: Final = {
    ErrorCode.NOT_FOUND: "there is no object with this address",
    ErrorCode.BODY_TOO_LARGE: "the storage owner does not take an object of this size",
}

_CID: Final = Argument(
    name="cid", required=True, max_length=1024, pattern=CID, doc="`b3:` and 64 lower-case hex digits."
)
_IF_NONE_MATCH: Final = Argument(
    name="if_none_match", header="if-none-match", doc="Entity tags the caller has: 304 if it is one of them."
)


@implementer(IFacet)
class MediaFacet:
    """See :class:`~micronode.interfaces.IFacet`.

    :param overlay: who is asked for objects that *storage* has not; None: nobody.
    :param max_object: bytes of an object that may be put.
    :param mismatches: the counter (of prometheus) of puts whose address the owner got wrong.
    """

    name = "media"

    def __init__(
        self, storage: IStorageOwner, *, max_object: int, mismatches: Any, overlay: Overlay | None = None
    ) -> None:
        self._storage = storage
        self._overlay = overlay
        self._max_object = max_object
        self._mismatches = mismatches

    def operations(self) -> tuple[Operation, ...]:
        """``media.get``, ``media.head``, ``media.put``."""
        return (
            Operation(
                name="media.get",
                facet=self.name,
                method="GET",
                path="/app/media/{cid}",
                profile=Profile.MEDIA,
                op="get",
                access=Access.READ,
                handler=self._get,
                arguments=(
                    _CID,
                    Argument(name="range", header="range", doc="One range of bytes, as HTTP writes it."),
                    Argument(
                        name="if_range", header="if-range", doc="The range counts only for this entity tag."
                    ),
                    _IF_NONE_MATCH,
                ),
                summary="Get an object, or one range of it.",
                answers=(OBJECT, PART, NOT_MODIFIED),
                errors=(ErrorCode.NOT_FOUND, ErrorCode.RANGE_NOT_SATISFIABLE, ErrorCode.INTEGRITY_FAILED),
            ),
            Operation(
                name="media.head",
                facet=self.name,
                method="HEAD",
                path="/app/media/{cid}",
                profile=Profile.MEDIA,
                op="head",
                access=Access.READ,
                handler=self._head,
                arguments=(_CID, _IF_NONE_MATCH),
                summary="Ask for an object's size and type.",
                answers=(OBJECT_HEAD, NOT_MODIFIED),
                errors=(ErrorCode.NOT_FOUND,),
            ),
            Operation(
                name="media.put",
                facet=self.name,
                method="POST",
                path="/app/media",
                profile=Profile.MEDIA,
                op="put",
                access=Access.WRITE,
                handler=self._put,
                arguments=(
                    Argument(
                        name="content_type",
                        header="content-type",
                        max_length=255,
                        doc="Kept with the object.",
                    ),
                ),
                body=BodyRule.STREAMED,
                max_body=self._max_object,
                summary="Store an object; its address is in the answer.",
                answers=(STORED,),
                errors=(ErrorCode.INTEGRITY_FAILED,),
            ),
        )

    async def _get(self, call: Call) -> Reply:
        args = call.args
        digest = parse_cid(args["cid"])
        tag = f'"{digest.hex()}"'
        if_range = args.get("if_range")
        asked = single_range(args.get("range")) if if_range in (None, tag) else None
        known = names_tag(args.get("if_none_match"), tag)
        if_none_match = tag if known else None
        reply, source = await find_object(
            lambda owner, call: owner.get(call, args["cid"], byte_range=asked, if_none_match=if_none_match),
            call,
            self._storage,
            self._overlay,
        )
        if reply.status == 304 and known:
            return _not_modified(reply, tag)
        if reply.status == 206 and asked is not None:
            return _part(reply, source, asked, tag)
        if reply.status == 416 and asked is not None:
            raise _unsatisfiable(reply, source)
        if reply.status != 200:
            raise refusal(reply, source, _MESSAGES)
        return Reply(head=_head_of(reply, tag, verified=True), body=reply.checked(digest))

    async def _head(self, call: Call) -> Reply:
        cid = call.args["cid"]
        tag = f'"{parse_cid(cid).hex()}"'
        known = names_tag(call.args.get("if_none_match"), tag)
        if_none_match = tag if known else None
        reply, source = await find_object(
            lambda owner, call: owner.head(call, cid, if_none_match=if_none_match),
            call,
            self._storage,
            self._overlay,
        )
        if reply.status == 304 and known:
            return _not_modified(reply, tag)
        if reply.status != 200:
            raise refusal(reply, source, _MESSAGES)
        reply.discard()
        return Reply(head=_head_of(reply, tag, verified=None))

    async def _put(self, call: Call) -> Reply:
        content_type = call.args.get("content_type") or OCTETS
        if not _TYPE.fullmatch(content_type):
            raise NodeError(ErrorCode.BAD_REQUEST, "argument 'content_type' must be a media type")
        body = HashedBody(call.body)
        reply = await self._storage.put(call, body, content_type=content_type)
        said, data = await read_object(reply, "storage", _MESSAGES, expected=(200, 201))
        self._compare(said.get("cid"), make_cid(body.digest()))
        return Reply(head=ResponseHead(status=201, content_type=JSON, length=len(data)), body=HeldBody(data))

    def _compare(self, said: object, true: str) -> None:
        """Hold the address that the owner *said* against the *true* one."""
        if said == true:
            return
        try:
            parse_cid(said if isinstance(said, str) else "")
        except NodeError:
            message = "the storage owner did not answer with an address"
            raise NodeError(ErrorCode.BAD_GATEWAY, message, source="storage") from None
        self._mismatches.inc()
        message = "the storage owner answered with the address of other bytes than it was sent"
        raise NodeError(ErrorCode.INTEGRITY_FAILED, message, source="storage")


def _head_of(
    reply: IOwnerReply, tag: str, *, verified: bool | None, status: int = 200, part: str | None = None
) -> ResponseHead:
    """Return the head of an answer that is an object or a part of it."""
    content_type = reply.header("content-type")
    if content_type is None or not _TYPE.fullmatch(content_type):
        content_type = OCTETS
    headers = [("accept-ranges", "bytes"), ("content-security-policy", "sandbox")]
    if not _SHOWN.match(content_type):
        headers.append(("content-disposition", "attachment"))
    if verified is not None:
        headers.append(("x-micronode-verified", "true" if verified else "false"))
    return ResponseHead(
        status=status,
        content_type=content_type,
        length=reply.length,
        etag=tag,
        range=part,
        verified=verified,
        headers=tuple(headers),
    )


def _part(reply: IOwnerReply, source: str, asked: str, tag: str) -> Reply:
    content_range = reply.header("content-range")
    if not part_matches(asked, content_range, reply.length):
        reply.abort()
        message = f"the {source} owner answered another range than was asked for"
        raise NodeError(ErrorCode.BAD_GATEWAY, message, source=source)
    head = _head_of(reply, tag, verified=False, status=206, part=content_range)
    return Reply(head=head, body=reply)


def _not_modified(reply: IOwnerReply, tag: str) -> Reply:
    reply.discard()
    return Reply(head=ResponseHead(status=304, etag=tag))


def _unsatisfiable(reply: IOwnerReply, source: str) -> NodeError:
    size = object_size(reply.header("content-range"))
    reply.discard()
    if size is None:
        return NodeError(ErrorCode.RANGE_NOT_SATISFIABLE, "the object has no such range", source=source)
    # RFC 9110 section 15.5.17: how long it is, for the next try.
    return NodeError(
        ErrorCode.RANGE_NOT_SATISFIABLE,
        f"the object has no such range: it has {size} bytes",
        source=source,
        headers=(("Content-Range", f"bytes */{size}"),),
    )
