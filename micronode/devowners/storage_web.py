"""The storage owner over HTTP: ``POST /o`` and ``GET|HEAD /o/{cid}``.

The shapes are those of ``docs/architecture.rst``, "Owner services".
"""

from __future__ import annotations

import sqlite3

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.ranges import RangeError, names_tag, parse_range
from micronode.devowners.request import OwnerRequest
from micronode.devowners.storage import DEFAULT_CONTENT_TYPE, ObjectStore, StoredObject, Upload, is_cid
from micronode.errors import ErrorCode, NodeError

#: Longer ones are not media types but somebody's luggage.
_MAX_CONTENT_TYPE_CHARS = 256


class StorageOwner(Owner):
    """Answers for an :class:`~micronode.devowners.storage.ObjectStore`.

    :param max_object_bytes: a longer object is refused.
    """

    name = "storage"

    def __init__(self, store: ObjectStore, max_object_bytes: int) -> None:
        super().__init__()
        self._store = store
        self._max_object_bytes = max_object_bytes

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for ``/o`` or ``/o/{cid}``."""
        if name != "o" or len(keys) > 1:
            raise NodeError(ErrorCode.NOT_FOUND, "storage has no such path")
        if not keys:
            request.allow(b"POST")
            return _Put(request, self._store, self._max_object_bytes)
        request.allow(b"GET", b"HEAD")
        if not is_cid(keys[0]):
            raise NodeError(ErrorCode.BAD_REQUEST, "an address is b3: and 64 lower-case hex digits")
        stored = self._store.find(keys[0])
        if stored is None:
            raise NodeError(ErrorCode.NOT_FOUND, "no object has this address")
        return _Get(request, self._store, stored)


class _Put(Exchange):
    """Hashes and stores a body while it arrives."""

    route = "put"

    def __init__(self, request: OwnerRequest, store: ObjectStore, max_object_bytes: int) -> None:
        super().__init__(request)
        self.max_body_bytes = max_object_bytes
        self._store = store
        self._upload: Upload | None = None

    def body(self, data: bytes) -> None:
        self._begun().write(data)

    def answer(self) -> None:
        self.request.reply({"cid": self._begun().commit()}, status=201)

    def lost(self) -> None:
        if self._upload is not None:
            self._upload.abort()

    def _begun(self) -> Upload:
        if self._upload is None:
            content_type = (self.request.field(b"content-type") or "").strip()
            if not content_type or len(content_type) > _MAX_CONTENT_TYPE_CHARS:
                content_type = DEFAULT_CONTENT_TYPE
            self._upload = self._store.begin(content_type)
        return self._upload


class _Get(Exchange):
    """Sends an object, or one range of it, as fast as the caller reads."""

    route = "get"

    def __init__(self, request: OwnerRequest, store: ObjectStore, stored: StoredObject) -> None:
        super().__init__(request)
        self._store = store
        self._stored = stored
        self._sender: ObjectSender | None = None

    def answer(self) -> None:
        request, stored = self.request, self._stored
        request.set_header(b"ETag", stored.etag.encode())
        request.set_header(b"Accept-Ranges", b"bytes")
        if names_tag(request.field(b"if-none-match"), stored.etag):
            request.setResponseCode(304)
            request.end()
            return
        start, end = self._extent()
        request.set_header(b"Content-Type", stored.content_type.encode("latin-1"))
        request.set_header(b"Content-Length", b"%d" % (end - start))
        if request.method == b"HEAD":
            request.end()
            return
        self._sender = ObjectSender(request, self._store, stored, start, end)
        self._sender.begin()

    def lost(self) -> None:
        if self._sender is not None:
            self._sender.stopProducing()

    def _extent(self) -> tuple[int, int]:
        """Return what to send as (start, end), and set the status and header that go with it."""
        request, stored = self.request, self._stored
        text = request.field(b"range")
        # A Range means something to GET alone, and only while the caller's copy is of this object.
        if request.method != b"GET" or request.field(b"if-range") not in (None, stored.etag):
            text = None
        try:
            extent = parse_range(text, stored.size)
        except RangeError:
            request.set_header(b"Content-Range", b"bytes */%d" % stored.size)
            raise NodeError(ErrorCode.RANGE_NOT_SATISFIABLE, f"the object has {stored.size} bytes") from None
        if extent is None:
            return 0, stored.size
        request.setResponseCode(206)
        request.set_header(b"Content-Range", b"bytes %d-%d/%d" % (extent[0], extent[1] - 1, stored.size))
        return extent


@implementer(IPushProducer)
class ObjectSender:
    """Writes an object to a request chunk by chunk: at most one chunk lies in the transport's buffer."""

    def __init__(
        self, request: OwnerRequest, store: ObjectStore, stored: StoredObject, start: int, end: int
    ) -> None:
        self._request = request
        self._store = store
        self._stored = stored
        self._position = start
        self._end = end
        self._is_paused = True
        self._is_stopped = False

    def begin(self) -> None:
        """Start sending; the request is ended when all was written."""
        self._request.feed_from(self)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """The caller does not read: write nothing more."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Write until the transport has enough."""
        self._is_paused = False
        while not (self._is_paused or self._is_stopped):
            if self._position == self._end:
                self._is_stopped = True
                self._request.end_feed()
                self._request.end()
                return
            try:
                data = self._store.read(self._stored, self._position, self._end)
            except sqlite3.Error as error:
                self._is_stopped = True
                self._request.end_feed()
                self._request.fail(error)
                return
            self._position += len(data)
            self._request.send(data)

    def stopProducing(self) -> None:
        """The caller has gone."""
        self._is_stopped = True
