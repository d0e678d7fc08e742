"""Listen addresses: reading, writing back, and which of them stay on this machine."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.address import ListenAddress


class ParseTests(SynchronousTestCase):
    def test_forms_are_written_back_as_they_were(self) -> None:
        for text in (
            "127.0.0.1:5310",
            "localhost:0",
            "[::1]:65535",
            "unix:/run/m.sock",
            "a-b.example.:1",
            "a_b:1",
        ):
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
            "127.1:1",
            "1.2.3.256:1",
            "010.0.0.1:1",
            "1.2.3.4.:1",
            "a.9:1",
            "a..b:1",
            ".a:1",
            "-:1",
            "a-:1",
            "a\\b:1",
            "x" * 64 + ":1",
            ".".join(["x" * 63] * 4) + ":1",
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

    def test_sockets_of_systemd_are_for_listeners_alone(self) -> None:
        self.assertEqual(ListenAddress.parse_listener("systemd:http"), ListenAddress(name="http"))
        for text in ("systemd:a.socket", "systemd:" + "x" * 255, "127.0.0.1:1", "unix:/x"):
            self.assertEqual(str(ListenAddress.parse_listener(text)), text)
        for text in ("systemd:", "systemd:a:b", "systemd:a b", "systemd:\u00e9", "systemd:a\n", "", None):
            self.assertRaises(ValueError, ListenAddress.parse_listener, text)
        self.assertRaises(ValueError, ListenAddress.parse_listener, "systemd:" + "x" * 256)

    def test_host_and_port_alone(self) -> None:
        """A host may have the name of another form."""
        for text in ("unix:1", "systemd:1"):
            self.assertEqual(str(ListenAddress.parse_tcp(text)), text)
        for text in ("unix:/x", "off", "a"):
            self.assertRaises(ValueError, ListenAddress.parse_tcp, text)

    def test_names_of_dns(self) -> None:
        for host, known in (
            ("index", True),
            ("Index.example.", True),
            ("xn--bcher-kva.example", True),
            ("10.0.0.9", True),
            ("index_owner", False),
            ("ab--cd", False),
            ("xn--", False),
        ):
            self.assertIs(ListenAddress(host=host, port=1).is_dns_name, known, host)

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
            "[::ffff:127.0.0.1]:1",
            "localhost.example:1",
            "127.0.0.1.example:1",
        ):
            self.assertFalse(ListenAddress.parse(text).is_local, text)
