"""Values that do not fit together: each contradiction, its place, and its fix."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.kinds import ConfigError
from tests.config.samples import merged


def problems(text: str) -> list[str]:
    """Return what is wrong with the file *text*."""
    try:
        merged(file=("f", text))
    except ConfigError as error:
        return list(map(str, error.problems))
    return []


def toml(route: str) -> str:
    """Return *route*, as a variable has it, as TOML."""
    method, path, access = route.split()
    return f'{{ method = "{method}", path = "{path}", access = "{access}" }}'


class ContradictionTests(SynchronousTestCase):
    def test_each_is_placed_and_says_what_to_do(self) -> None:
        for text, line in [
            ('http.listen = "0.0.0.0:1"', r'f:1: http.listen = "0.0.0.0:1" is not loopback.*; use "127'),
            ('oap.listen = "127.0.0.1:5310"', "f:1: oap.listen .* of http.listen too; give each"),
            ('http.listen = "127.0.0.1:5312"', "f:1: http.listen .* of oap.listen too; give each"),
            ('auth.mode = "required"', "f:1: auth.mode .* without auth.key_file.*; set auth.key_file"),
            ("http.tls = true", "f:1: http.tls = true without tls.certificate and tls.private_key; set "),
            ('oap.tls = true\ntls.certificate = "c"', "f:1: oap.tls = true without tls.private_key; set "),
            ('tls.private_key = "c"', "f:1: tls.private_key without tls.certificate; "),
            ('tls.client_allow = ["a"]', "f:1: tls.client_allow without tls.client_ca.*; set"),
            ('persistence.dir = "/x"', "f:1: persistence.dir .* amnesia.enabled = true.*; remove"),
            (
                'amnesia.enabled = false\namnesia.require = "kernel"',
                'f:2: amnesia.require = "kernel" while amnesia.enabled = false; set',
            ),
            ('owners.index.ca = "/ca"', "f:1: owners.index.ca is set, but no URL .*; connect by https"),
            (
                'owners.overlay.certificate = "/c"',
                "f:1: owners.overlay.certificate is set, but no URL .*https",
            ),
            (
                'owners.index = { url = "https://a", certificate = "/c" }',
                "f:1: .*certificate without .*key; they",
            ),
            (
                'owners.index = { url = "https://a", private_key = "/k" }',
                "f:1: .*key without .*certificate; they",
            ),
            (
                'limits.max_frame = "4KiB"\nlimits.max_chunk = "5KiB"',
                "f:2: limits.max_chunk .* larger .*; lower",
            ),
            (
                '[facets.x]\nkind = "proxy"\nroutes = [{method="GET",access="read"}]',
                "f:2: facets.x is a proxy",
            ),
            ('[facets.x]\nkind = "echo"', "f:2: facets.x has no routes.*; set routes"),
            (
                '[facets.x]\nkind = "echo"\nhealth = "/h"\nroutes = [{method="GET",access="read"}]',
                "f:3: facets.x has a health path, but an echo .*; remove health",
            ),
            (
                '[facets.x]\nkind = "echo"\nupstream = "http://a"\nroutes = [{method="GET",access="read"}]',
                "f:3: facets.x has an upstream, but an echo .*; remove upstream",
            ),
            (
                '[facets.policy]\nkind = "echo"\nroutes = [{method="GET",access="read"}]',
                "f:2: facets.policy has the name of an owner.*; call it policy_api",
            ),
        ]:
            lines = problems(text)
            self.assertTrue(lines, text)
            self.assertRegex(lines[0], f"^{line}")

    def test_routes_that_nothing_reaches(self) -> None:
        for first, second, reached in (
            ("GET /{rest} read", "GET /{rest} write", False),
            ("GET /{rest} read", "GET /admin/{rest} write", False),
            ("GET /{rest} read", "GET /{id} read", False),
            ("GET /{rest} read", "GET / read", False),
            ("GET /v1/{a} read", "GET /v1/{b} read", False),
            ("GET /v1/{a} read", "GET /v1/x read", False),
            ("GET /v1/{a}/{rest} read", "GET /v1/x/y/z read", False),
            ("GET /admin/{rest} write", "GET /{rest} read", True),
            ("GET /{rest} read", "POST /{rest} write", True),
            ("GET /v1/{rest} read", "GET /v1 read", True),
            ("GET /v1/{a} read", "GET /v1/ read", True),
            ("GET /v1/{a} read", "GET /v1/{rest} read", True),
            ("GET /v1/{a} read", "GET /v1/{a}/x read", True),
            ("GET /v1/x read", "GET /v1/{a} read", True),
        ):
            lines = problems(f'[facets.x]\nkind = "echo"\nroutes = [{toml(first)},\n {toml(second)}]')
            self.assertEqual(lines == [], reached, (first, second, lines))
            if not reached:
                said = f'f:3: facets.x.routes: "{second}" is never reached, since "{first}" stands before it'
                self.assertIn(said, lines[0])

    def test_what_is_refused_is_not_said_to_be_missing(self) -> None:
        route = '[{method = "GET", access = "read"}]'
        for upstream, routes, places in (
            ('upstream = "ftp://a"', f"routes = {route}", ["f:3"]),
            ('upstream = "http://a/b"', f"routes = {route}", ["f:3"]),
            ('upstrem = "http://a"', f"routes = {route}", ["f:3"]),
            ('upstream = "http://a"', 'routes = [{method = "GTE", access = "read"}]', ["f:4"]),
            ('upstream = "http://a"', 'routes = ["/"]', ["f:4"]),
            ('upstream = "http://a"', f"route = {route}", ["f:4"]),
            ('upstream = "ftp://a"', 'routes = [{method = "GTE"}]', ["f:3", "f:4", "f:4"]),
            # What has nothing to do with it is told all the same.
            ("limit = 0", f"routes = {route}", ["f:2", "f:3"]),
            ("colour = 0", f"routes = {route}", ["f:2", "f:3"]),
        ):
            lines = problems(f'[facets.x]\nkind = "proxy"\n{upstream}\n{routes}')
            self.assertEqual([line.split(": ")[0] for line in lines], places, lines)
        lines = problems(f'[facets.x]\nkind = "proxy"\nroutes = {route}\n[facets.y]\nkind = "ecko"')
        self.assertEqual([line.split(": ")[0] for line in lines], ["f:2", "f:5"], lines)

    def test_all_at_once_with_those_of_single_values(self) -> None:
        text = '[http]\nlisten = "0.0.0.0:1"\nidle = "x"\n[persistence]\ndir = "/x"\n[htp]\n'
        places = [line.split(": ")[0] for line in problems(text)]
        self.assertEqual(sorted(places), ["f:2", "f:3", "f:5", "f:6"])

    def test_no_contradiction(self) -> None:
        for text in (
            'limits.max_frame = "4KiB"',
            'amnesia.enabled = false\npersistence.dir = "/x"',
            'tls = { certificate = "c", private_key = "k" }\nhttp.tls = true',
            'owners.index = { url = "https://a", ca = "/ca" }',
            'owners.index = { url = ["http://a", "https://a"], certificate = "/c", private_key = "/k" }',
            '[facets.x]\nkind = "echo"\nroutes = [{method="GET",access="read"}]',
        ):
            self.assertEqual(problems(text), [], text)
