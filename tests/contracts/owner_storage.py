"""What a storage owner promises, and for reading an overlay owner, too; to be mixed into a test case."""

from __future__ import annotations

import os
from typing import Any

from blake3 import blake3

from tests.contracts.owner import OwnerContract

NOBODYS = "b3:" + "0" * 64


def address(data: bytes) -> str:
    return f"b3:{blake3(data).hexdigest()}"


class ObjectsContract(OwnerContract):
    """The conformance suite of whoever has objects; :meth:`put` says how they get there."""

    refused = (
        ("GET", f"/o/{NOBODYS}", 404),
        ("HEAD", "/nothing", 404),
        ("GET", "/o/b3:x", 400),
        ("GET", f"/o/{NOBODYS.upper()}", 400),
        ("GET", f"/o/{NOBODYS}%00", 400),
        ("GET", "/o/", 400),
        ("DELETE", f"/o/{NOBODYS}", 405),
    )

    def test_refusals(self) -> None:
        for method, path, status in self.refused:
            answer = self.ask(method, path)
            case: Any = self
            case.assertEqual(answer.status, status, path)
            if method != "HEAD":
                self.check_error(answer, status)

    def put(self, data: bytes, content_type: str) -> str:
        """Let there be an object; return its address."""
        raise NotImplementedError

    def test_whole(self) -> None:
        case: Any = self
        # One that is small, one that is not, and none at all.
        for data in (os.urandom(100), os.urandom(700_000), b""):
            cid = self.put(data, "text/x-contract; charset=utf-8")
            answer = self.ask("GET", f"/o/{cid}")
            case.assertEqual((answer.status, answer.body), (200, data))
            head = self.ask("HEAD", f"/o/{cid}")
            case.assertEqual((head.status, head.body), (200, b""))
            for headers in (answer.headers, head.headers):
                case.assertEqual(headers["content-length"], str(len(data)))
                # Who was the first to put it has said what it is.
                if data:
                    case.assertEqual(headers["content-type"], "text/x-contract; charset=utf-8")
                case.assertEqual(headers["etag"], f'"{cid[3:]}"')

    def test_one_range(self) -> None:
        case: Any = self
        cid = self.put(b"hello world", "text/plain")
        for asked, got, extent in (
            ("bytes=0-4", b"hello", "0-4"),
            ("bytes=6-", b"world", "6-10"),
            ("bytes=-3", b"rld", "8-10"),
            ("bytes=9-99", b"ld", "9-10"),
        ):
            answer = self.ask("GET", f"/o/{cid}", Range=asked)
            case.assertEqual((answer.status, answer.body), (206, got))
            case.assertEqual(answer.headers["content-range"], f"bytes {extent}/11")
            case.assertEqual(answer.headers["content-length"], str(len(got)))
        answer = self.ask("GET", f"/o/{cid}", Range="bytes=11-")
        self.check_error(answer, 416, "range_not_satisfiable")
        case.assertEqual(answer.headers["content-range"], "bytes */11")
        for nonsense in ("bytes=x", "bytes=4-2", "lines=0-1"):
            case.assertEqual(self.ask("GET", f"/o/{cid}", Range=nonsense).status, 200)

    def test_not_modified(self) -> None:
        case: Any = self
        cid = self.put(b"hello world", "text/plain")
        for method in ("GET", "HEAD"):
            answer = self.ask(method, f"/o/{cid}", If_None_Match=f'"{cid[3:]}"')
            case.assertEqual((answer.status, answer.body), (304, b""))
            case.assertEqual(answer.headers["etag"], f'"{cid[3:]}"')
            case.assertEqual(self.ask(method, f"/o/{cid}", If_None_Match='"other"').status, 200)


class StorageOwnerContract(ObjectsContract):
    """The conformance suite of storage."""

    refused = (*ObjectsContract.refused, ("GET", "/o", 405))

    def put(self, data: bytes, content_type: str) -> str:
        case: Any = self
        answer = self.ask("POST", "/o", data, Content_Type=content_type)
        case.assertEqual((answer.status, answer.json), (201, {"cid": address(data)}))
        return address(data)

    def test_the_same_again(self) -> None:
        for _ in range(2):
            self.put(b"the same", "text/plain")
