"""Listen addresses: reading, writing back, and which of them stay on this machine."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.address import ListenAddress


class ParseTests(SynchronousTestCase):
    def test_forms_are_written_back_as_they_were(self) -> None:
        for text in ("127.0.0.1:5310", "localhost:0", "[::1]:65535", "unix:/run/m.sock", "a-b.example:1"):
            self.assertEqual(str(ListenAddress.parse(text)), text)

    def test_parts(self) -> None:
        self.assertEqual(ListenAddress.parse("[::1]:3"), ListenAddress(host="::1", port=3))
        self.assertEqual(ListenAddress.parse("unix:/x"), ListenAddress(path="/x"))

    def test_refused(self) -> None:
        for text in (
            "",
            ":80",
            "80",
            "a",
            "a:",
            "a:b",
            "a:65536",
            "a:-1",
            "::1:80",
            "[]:1",
            "[zz]:1",
            "[::1%eth0 ]:1",
            "*:80",
            "a:1:2",
            "a :1",
            "a:1\n",
            "a:\u0661",
            "unix:",
            "unix:x",
            "unix:/x/",
            "unix:/a\0b",
            "unix:/" + "x" * 107,
            "systemd:http",
            5310,
            None,
        ):
            self.assertRaises(ValueError, ListenAddress.parse, text)

    def test_longest_socket_path(self) -> None:
        path = "/" + "x" * 106
        self.assertEqual(ListenAddress.parse(f"unix:{path}").path, path)


class LocalTests(SynchronousTestCase):
    def test_local(self) -> None:
        for text in ("127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "localhost:1", "LocalHost:1", "unix:/x"):
            self.assertTrue(ListenAddress.parse(text).is_local, text)

    def test_not_local(self) -> None:
        for text in (
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "128.0.0.1:1",
            "example.org:1",
            "127.1:1",
            "[::ffff:127.0.0.1]:1",
            "localhost.example:1",
            "127.0.0.1.example:1",
        ):
            self.assertFalse(ListenAddress.parse(text).is_local, text)
