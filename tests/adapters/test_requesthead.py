"""micronode.adapters.requesthead: the last gate before a request is written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH

from micronode.adapters.requesthead import CONNECTION_FIELDS, UnwritableRequestError, write_request_head
from micronode.errors import ErrorCode


class RequestHeadTests(SynchronousTestCase):
    def test_as_it_is_written(self) -> None:
        head = write_request_head(
            b"GET",
            b"/a%2Fb?x=y",
            b"10.0.0.9:1",
            [(b"X-One", b"1"), (b"x-two", b""), (b"X-One", b"a\tb \xe4")],
        )
        self.assertEqual(
            head,
            b"GET /a%2Fb?x=y HTTP/1.1\r\nHost: 10.0.0.9:1\r\nX-One: 1\r\nx-two: \r\nX-One: a\tb \xe4\r\n\r\n",
        )

    def test_where_it_ends(self) -> None:
        for method, length, line in (
            (b"POST", 0, b"Content-Length: 0\r\n"),
            (b"POST", 12, b"Content-Length: 12\r\n"),
            (b"GET", 12, b"Content-Length: 12\r\n"),
            (b"POST", UNKNOWN_LENGTH, b"Transfer-Encoding: chunked\r\n"),
            (b"POST", None, b"Content-Length: 0\r\n"),
            (b"PUT", None, b"Content-Length: 0\r\n"),
            (b"GET", None, b""),
            (b"HEAD", None, b""),
        ):
            head = write_request_head(method, b"/", b"h", (), length=length)
            self.assertEqual(head, method + b" / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n")

    def test_not_kept(self) -> None:
        head = write_request_head(b"GET", b"/", b"h", (), keep=False)
        self.assertEqual(head, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")

    def refused(
        self, method: bytes = b"GET", target: bytes = b"/", field: tuple[bytes, bytes] = (b"x", b"y")
    ) -> None:
        with self.assertRaises(UnwritableRequestError, msg=str((method, target, field))) as raised:
            write_request_head(method, target, b"h", [field])
        self.assertIs(raised.exception.code, ErrorCode.INTERNAL)

    def test_methods(self) -> None:
        for method in (b"", b"GET ", b"G\r\nT", b"GET\n", b"G:T", b"G\xe4T", b"CONNECT"):
            self.refused(method=method)

    def test_targets(self) -> None:
        for target in (
            b"",
            b"x",
            b"*",
            b"http://a/",
            b"/ ",
            b"/\r\n",
            b"/\n",
            b"/\x00",
            b"/#x",
            b"/\xe4",
            b"/\x7f",
        ):
            self.refused(target=target)

    def test_names(self) -> None:
        for name in (b"", b" x", b"x ", b"x:", b"x:y", b"x\r\ny", b"x\n", b"\x00", b"x\xe4", b"(x)"):
            for _ in range(2):
                self.refused(field=(name, b"y"))

    def test_names_of_the_connection(self) -> None:
        for name in CONNECTION_FIELDS:
            for each in (name, name.upper(), name.title()):
                self.refused(field=(each, b"1"))

    def test_values(self) -> None:
        for value in (
            b"a\r\nb: c",
            b"a\nb",
            b"a\rb",
            b"\x00",
            b"a\x00b",
            b" a",
            b"a ",
            b"\ta",
            b"a\x7f",
            b"\x1b",
            b"a\n",
        ):
            self.refused(field=(b"x", value))

    def test_names_that_have_passed_are_bounded(self) -> None:
        for number in range(1000):
            self.assertIn(
                b"x-%d: y" % number, write_request_head(b"GET", b"/", b"h", [(b"x-%d" % number, b"y")])
            )
