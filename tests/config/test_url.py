"""Owners' URLs: forms, parts, and what is refused (``tests/property/test_owner_url.py`` for the rest)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.address import ListenAddress
from micronode.config.url import OwnerUrl


class OwnerUrlTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, canonical, authority in (
            ("http://127.0.0.1:5321", "http://127.0.0.1:5321", "127.0.0.1:5321"),
            ("http://index", "http://index", "index"),
            ("HTTP://Index:80/", "http://index", "index"),
            ("http://index_owner:5321", "http://index_owner:5321", "index_owner:5321"),
            ("http://unix:5321", "http://unix:5321", "unix:5321"),
            ("https://index:443/v1/", "https://index/v1", "index"),
            ("https://index:80", "https://index:80", "index:80"),
            ("https://10.0.0.9", "https://10.0.0.9", "10.0.0.9"),
            ("https://[::1]", "https://[::1]", "[::1]"),
            ("http://[0:0::1]:99/a/%20b", "http://[::1]:99/a/%20b", "[::1]:99"),
            ("unix:/run/index.sock", "unix:/run/index.sock", "localhost"),
            ("http+unix:///run/index.sock", "unix:/run/index.sock", "localhost"),
        ):
            url = OwnerUrl.parse(text)
            self.assertEqual((str(url), url.authority), (canonical, authority), text)
            self.assertEqual(OwnerUrl.parse(str(url)), url)

    def test_parts(self) -> None:
        self.assertEqual(
            OwnerUrl.parse("https://index/a/b/"),
            OwnerUrl(listener=ListenAddress(host="index", port=443), tls=True, prefix="/a/b"),
        )

    def test_refused(self) -> None:
        for text in (
            "",
            "index:5321",
            "ftp://index",
            "unix:run/index.sock",
            "http://",
            "http://:80",
            "http:///x",
            "http://user:secret@index",
            "http://index/?a=b",
            "http://index/#a",
            "http://ind ex",
            "http://\u00edndex",
            "http://index\n",
            "http://index:99999",
            "http://index:0",
            "http://index:",
            "http://index:8o",
            "http://a..b",
            "http://-",
            "http://a\\b",
            "http://127.1",
            "http://" + "a" * 64,
            "http://[::1",
            "http://[::1]x:80",
            "http://::1:80",
            "http://[v1.x]",
            "http://[::1%25lo]:80",
            "http://[fe80::1%lo]:80",
            "http://index/a\\b",
            "http://index/%zz",
            'http://index/"',
        ):
            with self.assertRaises(ValueError, msg=text) as raised:
                OwnerUrl.parse(text)
            self.assertNotIn("secret", str(raised.exception))

    def test_names_that_no_certificate_is_for(self) -> None:
        for host in ("a_b", "ab--cd", "xn--"):
            OwnerUrl.parse(f"http://{host.replace('xn--', 'xn')}")
            self.assertRaises(ValueError, OwnerUrl.parse, f"https://{host}")
