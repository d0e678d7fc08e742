"""Which problems are told, and in which order."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.sources import Flag
from tests.config.samples import merged, refusals


class OrderTests(SynchronousTestCase):
    def test_as_the_lines_stand(self) -> None:
        text = (
            '[http]\nlisten = "0.0.0.0:1"\ntls = true\nidel = "1s"\n[drain]\ngrace = "9"\n'
            '[oap]\nlisten = "0.0.0.0:2"\n'
        )
        sources: dict[str, object] = {
            "environ": {"MICRONODE_HTTP_X": "1"},
            "flags": [Flag("a.b", "1", "flag --set a.b")],
        }
        lines = refusals(file=("f", text), to_run=True, **sources)
        places = [line.split(": ")[0] for line in lines]
        self.assertEqual(
            places, ["f:2", "f:3", "f:4", "f:6", "f:8", "env MICRONODE_HTTP_X", "flag --set a.b"], lines
        )


class NobodyServedTests(SynchronousTestCase):
    def test_both_doors_off(self) -> None:
        file = ("f", "http.listen = 'off'")
        (line,) = refusals(file=file, environ={"MICRONODE_OAP_LISTEN": "off"}, to_run=True)
        self.assertIn("f:1, env MICRONODE_OAP_LISTEN: http.listen and oap.listen are both off", line)
        self.assertIn("--http 127.0.0.1:5310", line)
        merged(file=file, to_run=True)
        merged(file=file, environ={"MICRONODE_OAP_LISTEN": "off"})


class CertainTests(SynchronousTestCase):
    def test_what_is_refused_is_not_called_missing(self) -> None:
        whole = {"kind": '"proxy"', "upstream": '"http://a"', "routes": '[{method = "GET", access = "read"}]'}
        for name, bad, said in (
            ("upstream", '"http://a/x"', "f:3: facets.x.upstream cannot be"),
            ("routes", '[{method = "get", access = "read"}]', "f:4: facets.x.routes: method 'get'"),
            (
                "routes",
                '[{method = "GET", access = "read"}, {access = "read"}]',
                "f:4: facets.x.routes, no. 2: method is missing",
            ),
        ):
            lines = [f"{key} = {value}" for key, value in (whole | {name: bad}).items()]
            (line,) = refusals(file=("f", "\n".join(["[facets.x]", *lines])))
            self.assertTrue(line.startswith(said), line)
        # What is missing elsewhere is told beside it.
        lines = refusals(file=("f", '[facets.x]\nkind = "proxy"\nlimit = 0\n[facets.y]\nkind = "echo"'))
        self.assertEqual([line.partition(" ")[0] for line in lines], ["f:2:", "f:2:", "f:3:", "f:5:"])
        (line,) = refusals(file=("f", '[owners.index]\nurl = "https:/a"\nca = "/x"'))
        self.assertIn("owners.index.url cannot be", line)
