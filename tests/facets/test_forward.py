"""micronode.facets.forward: each rule, what it refuses and what it lets through."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode, NodeError
from micronode.facets.forward import answer_fields, check_target, request_fields


class TargetTests(SynchronousTestCase):
    def test_taken_as_they_are(self) -> None:
        for target, *others in (
            ("/",),
            ("/a",),
            ("/a/",),
            ("/a%20b", "/a b"),
            ("/%41", "/A"),
            ("/a%2Fb", "/a/b"),
            ("/a;x=1,2:@!$&'()*+~b", "/a"),
            ("/a;x/b;y;z/;", "/a/b/"),
            ("/a;%42%2fc", "/a;B/c", "/a/c"),
            ("/%252e%252e", "/%2e%2e"),
            ("/...",),
            ("/.a/a./..a",),
            ("/%ff", "/\xff"),
            # The query is nobody's business.
            ("/a?b=//../%00&c=%zz\\;",),
            ("/a??",),
        ):
            path = target.partition("?")[0]
            self.assertEqual(check_target(target), (path, *others))

    def refused(self, target: str, rule: str) -> None:
        error = self.assertRaises(NodeError, check_target, target)
        self.assertIs(error.code, ErrorCode.BAD_REQUEST)
        self.assertIn(rule, error.message, target)

    def test_each_refusal_names_its_rule(self) -> None:
        for target, rule in (
            ("", "must begin with /"),
            ("a", "must begin with /"),
            ("http://evil/", "must begin with /"),
            ("*", "must begin with /"),
            ("?x=/", "must begin with /"),
            ("/a b", "holds a space"),
            ("/a?b c", "holds a space"),
            ("/a\r\nb", "a control character"),
            ("/a\0", "a control character"),
            ("/a\x7f", "a control character"),
            ("/a?\n", "a control character"),
            ("/\xe9", "what is no ASCII"),
            ("/\ud800", "what is no ASCII"),
            ("/a#b", "holds a #"),
            ("/a?b#c", "holds a #"),
            ("/a\\b", "a backslash"),
            ("//a", "holds //"),
            ("/a//b", "holds //"),
            ("/a//", "holds //"),
            ("/%", "broken percent escape"),
            ("/%2", "broken percent escape"),
            ("/%zz", "broken percent escape"),
            ("/a%5Cb", "a backslash"),
            ("/%2fa", "holds //"),
            ("/a%2F/b", "holds //"),
            ("/a%2F%2fb", "holds //"),
            ("/;/a", "holds //"),
            ("/a/;x=1/b", "holds //"),
            ("/%3Bx/a", "holds //"),
            ("/a%0D%0AX:y", "a control character (%0D)"),
            ("/%7f", "a control character (%7F)"),
            ("/%00", "a NUL"),
            ("/a%00b", "a NUL"),
        ):
            self.refused(target, rule)
        for target in (
            *("/.", "/..", "/a/../b", "/a/./b", "/../", "/%2e", "/%2E%2e/a", "/.%2e/a", "/a%2F..%2Fb"),
            *("/a/..%2fb", "/a%2f.", "/..;/a", "/a/..;x=1", "/.;", "/%2e%2E;/a", "/..%3b/a", "/a/%2E;b/c"),
        ):
            self.refused(target, "a segment . or ..")


class RequestFieldTests(SynchronousTestCase):
    def passed(self, *given: tuple[str, str], allowed: tuple[str, ...] = ()) -> dict[bytes, bytes]:
        return dict(request_fields(given, allowed))

    def test_end_to_end_fields_pass(self) -> None:
        given = (("Accept", "x"), ("X-Own", "a\tb"), ("If-None-Match", '"e"'), ("range", "bytes=0-"))
        passed = [(b"accept", b"x"), (b"x-own", b"a\tb"), (b"if-none-match", b'"e"'), (b"range", b"bytes=0-")]
        self.assertEqual(request_fields(given, ()), passed)
        for name in ("content-type", "content-encoding", "accept-encoding", "idempotency-key", "tracestate"):
            self.assertEqual(self.passed((name, "x")), {name.encode(): b"x"})
        self.assertEqual(self.passed(("a", " \xe9 ")), {b"a": b"\xe9"})

    def test_what_is_not_the_callers_is_dropped(self) -> None:
        for name in (
            *("Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate"),
            *("TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Proxy"),
            *("Host", "Content-Length", "Expect", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host"),
            *("X-Forwarded-Proto", "X-Forwarded-Anything", "X-Real-IP", "X-Request-ID", "traceparent"),
            *("X-Tenant-ID", "X-Micronode-Tenant", "X-Micronode-Token-Id", "X-Micronode-Deadline-Ms"),
            *("Authorization", "Cookie"),
            # By which frameworks take another method, path or caller than the request has.
            *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Rewrite-URL"),
            *("X-Original-URL", "X-Original-Host", "X-Host", "X-Script-Name", "Remote-User", "X-Remote-User"),
            *("Client-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP"),
            *("X_HTTP_Method_Override", "X_Original-URL"),
            # As a WSGI program would read them.
            *("X_Micronode_Tenant", "X-Micronode_Token_Id", "X_Forwarded-For", "Content_Length", "x.real.ip"),
        ):
            self.assertEqual(self.passed((name, "x")), {}, name)

    def test_secrets_pass_where_they_may(self) -> None:
        given = (("Authorization", "Basic x"), ("Cookie", "a=b"))
        self.assertEqual(self.passed(*given, allowed=("cookie",)), {b"cookie": b"a=b"})
        both = ("authorization", "cookie")
        self.assertEqual(set(self.passed(*given, allowed=both)), {b"authorization", b"cookie"})
        # What only looks like one of them is none.
        self.assertEqual(self.passed(("c.ookie", "x"), allowed=both), {b"c.ookie": b"x"})

    def test_what_connection_names_is_the_connections(self) -> None:
        given = (("X-Hop", "1"), ("Connection", "close, X-HOP"), ("X-End", "2"), ("connection", "other"))
        self.assertEqual(self.passed(*given), {b"x-end": b"2"})

    def test_what_is_there_twice_is_refused(self) -> None:
        for names in (
            ("X-Own", "x-own"),
            ("Content-Type", "content-type"),
            ("Authorization", "AUTHORIZATION"),
        ):
            given = [(name, str(number)) for number, name in enumerate(names)]
            error = self.assertRaises(NodeError, request_fields, given, ("authorization",))
            self.assertEqual((error.code, "is there twice" in error.message), (ErrorCode.BAD_REQUEST, True))

    def test_what_is_no_field_is_refused(self) -> None:
        for name in ("", "a b", "a:", "a\r\nb", "é", "a\0"):
            error = self.assertRaises(NodeError, request_fields, [(name, "x")], ())
            self.assertEqual((error.code, "no token" in error.message), (ErrorCode.BAD_REQUEST, True), name)
        for value in ("a\r\nb", "\n", "\0", "a\x7f", "\u010a", "\ud800", "\x1b"):
            error = self.assertRaises(NodeError, request_fields, [("X-Own", value)], ())
            self.assertIn("the value of header field x-own", error.message)


class AnswerFieldTests(SynchronousTestCase):
    def test_fields_of_the_service_pass(self) -> None:
        given = [
            ("x-own", "1"),
            ("location", "http://10.0.0.9/x"),
            ("link", "a"),
            ("link", "b"),
            ("vary", "x"),
        ]
        given += [("content-encoding", "br"), ("www-authenticate", "Basic"), ("cache-control", "no-cache")]
        self.assertEqual(answer_fields(given), given)

    def test_what_would_hold_for_the_whole_origin_does_not(self) -> None:
        for name in (
            *("set-cookie", "set-cookie2", "alt-svc", "clear-site-data", "strict-transport-security"),
            *("access-control-allow-origin", "access-control-max-age", "x-micronode-verified"),
            *("service-worker-allowed", "nel", "report-to", "accept-ch", "origin-agent-cluster"),
            *("public-key-pins", "connection", "keep-alive", "upgrade", "trailer", "proxy-authenticate"),
            *("content-length", "transfer-encoding"),
        ):
            self.assertEqual(answer_fields([(name, "x")]), [], name)
