"""The table: facets of the user's own, keys that only some members have, and what was probably meant."""

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.members import BUILT_FACETS, BUILT_OWNERS, FACET_NAMES, OWNER_NAMES
from micronode.config.problems import ConfigError, RefusedError
from micronode.config.routes import Route
from micronode.config.schema import KEYS, Config, OwnFacet
from micronode.config.sources import Flag
from micronode.config.table import FLAGS, SECTIONS, find_key
from tests.config.samples import merged

OWN = """
[facets.billing]
kind = "proxy"
upstream = "http://127.0.0.1:8000/"
limit = 3
routes = [
  { method = "GET", path = "/v1/{rest}", access = "read" },
  { method = "POST", access = "write" },
]
health = "/healthz"
"""


def refusals(**sources: object) -> list[str]:
    try:
        merged(**sources)  # type: ignore[arg-type]
    except ConfigError as error:
        return list(map(str, error.problems))
    return []


class TableTests(SynchronousTestCase):
    def test_built_is_a_part_of_what_is_named(self) -> None:
        self.assertLessEqual(set(BUILT_OWNERS), set(OWNER_NAMES))
        self.assertLessEqual(set(BUILT_FACETS), set(FACET_NAMES))
        for name in OWNER_NAMES:
            self.assertIs(KEYS[f"owners.{name}.url"].built, name in BUILT_OWNERS)
        for name in FACET_NAMES:
            self.assertIs(KEYS[f"facets.{name}.enabled"].built, name in BUILT_FACETS)

    def test_every_section_has_keys(self) -> None:
        self.assertEqual({path.partition(".")[0] for path in KEYS}, set(SECTIONS))

    def test_defaults_ask_for_nothing(self) -> None:
        self.assertEqual(list(Config().unbuilt()), [])
        for row in KEYS.values():
            for value in row.inert:
                self.assertEqual(row.read(value), value)

    def test_flags(self) -> None:
        self.assertEqual(
            dict(FLAGS),
            {
                "profile": "node.profile",
                "http": "http.listen",
                "admin": "admin.listen",
                "oap": "oap.listen",
                "pq": "pq.mode",
                "amnesia": "amnesia.enabled",
                "log-level": "log.level",
            },
        )

    def test_reload(self) -> None:
        restart = {path for path, row in KEYS.items() if row.reload == "restart"}
        self.assertLessEqual({"http.listen", "auth.mode", "amnesia.enabled"}, restart)
        live = {"log.level", "facets.graph.limit", "owners.index.url", "http.trusted_proxies", "pq.mode"}
        self.assertEqual(live & restart, set())
        self.assertEqual({row.reload for row in KEYS.values()}, {"live", "restart"})

    def test_keys_of_some_members_only(self) -> None:
        self.assertEqual(find_key(("owners", "policy", "fail")).default, "closed")
        self.assertEqual(find_key(("facets", "feed", "subscriptions")).default, 1024)
        for path, holder in [
            (("owners", "index", "fail"), "policy"),
            (("facets", "graph", "subscriptions"), "feed"),
        ]:
            refused = self.assertRaises(RefusedError, find_key, path)
            self.assertIn(f"only [{path[0]}.{holder}] has it", refused.what)


class OwnFacetTests(SynchronousTestCase):
    def test_from_a_file(self) -> None:
        config = merged(file=("f", OWN)).config
        facet = config.facets["billing"]
        assert isinstance(facet, OwnFacet)
        self.assertEqual((facet.kind, facet.upstream, facet.limit), ("proxy", "http://127.0.0.1:8000", 3))
        self.assertEqual(
            facet.routes, (Route("GET", "/v1/{rest}", "read"), Route("POST", "/{rest}", "write"))
        )
        self.assertEqual((facet.enabled, facet.queue, facet.health), (True, 0, "/healthz"))
        self.assertEqual(config.sources["facets.billing.routes"], "f:6")
        self.assertEqual(list(config.unbuilt()), [])
        self.assertNotEqual(config.sha(), Config().sha())

    def test_each_source_may_set_a_part(self) -> None:
        config = merged(
            file=("f", OWN),
            environ={"MICRONODE_FACETS_BILLING_LIMIT": "4"},
            flags=[Flag("facets.billing.timeout", "1s", "flag --set x")],
        ).config
        self.assertEqual((config.facets["billing"].limit, config.facets["billing"].timeout), (4, 1.0))
        self.assertEqual(config.sources["facets.billing.limit"], "env MICRONODE_FACETS_BILLING_LIMIT")

    def test_from_variables_alone(self) -> None:
        config = merged(
            environ={
                "MICRONODE_FACETS_MY_ECHO_KIND": "echo",
                "MICRONODE_FACETS_MY_ECHO_ROUTES": "GET /{rest} read, POST /x write",
            }
        ).config
        facet = config.facets["my_echo"]
        assert isinstance(facet, OwnFacet)
        self.assertEqual(facet.routes[1], Route("POST", "/x", "write"))

    def test_without_kind_it_is_a_mistake(self) -> None:
        (line,) = refusals(file=("f", "[facets.billing]\nlimit = 3\n"))
        self.assertEqual(
            line,
            'f:1: [facets.billing] needs a kind ("proxy" or "echo"); set it; '
            "built in are graph, search, feed, media",
        )
        (line,) = refusals(file=("f", "[facets.serch]\nlimit = 3\n"))
        self.assertIn("f:1: [facets.serch] needs a kind", line)
        self.assertTrue(line.endswith("media (did you mean search?)"), line)

    def test_names(self) -> None:
        for name in ("Billing", "my-app", "1st", "x" * 33, "", "_meta"):
            lines = refusals(file=("f", f'[facets."{name}"]\nkind = "echo"\n'))
            self.assertIn("cannot be the name of a facet", lines[0], name)

    def test_a_bad_name_is_told_once(self) -> None:
        text = '\n[facets.My-App]\nkind = "proxy"\nupstream = "http://a"\nroutes = []\nlimit = 3\n'
        (line,) = refusals(file=("f", text))
        self.assertIn("f:2: 'My-App' cannot be the name of a facet", line)

    def test_names_of_built_in_facets_are_taken(self) -> None:
        for name in ("graph", "search", "feed", "media"):
            (line,) = refusals(file=("f", f'[facets.{name}]\nkind = "echo"\n'))
            self.assertIn(f"f:2: [facets.{name}] has no kind, since {name} is built in", line)
            self.assertIn(f"[facets.my_{name}]", line)
        (line,) = refusals(file=("f", '[facets.search]\nupstream = "http://127.0.0.1:1"\n'))
        self.assertIn("f:2: [facets.search] has no upstream, since search is built in", line)

    def test_a_name_that_is_refused_takes_no_variables_along(self) -> None:
        file = ("f", '[facets.Foo]\nkind = "echo"\n[facets.a-b]\nkind = "echo"\n')
        environ = {"MICRONODE_FACETS_FOO_LIMIT": "3", "MICRONODE_FACETS_A_B_LIMIT": "x"}
        for to_run in (False, True):
            lines = refusals(file=file, environ=environ, to_run=to_run)
            self.assertEqual([line.split(": ")[0] for line in lines[:2]], ["f:1", "f:3"])

    def test_routes(self) -> None:
        for text, said in [
            ('{ method = "GTE", access = "read" }', "method 'GTE'; use one of GET, .*did you mean GET"),
            ('{ method = "GET" }', "access is missing; use one of read, write"),
            ('{ method = "GET", access = "read", pth = "/" }', "unknown key 'pth' .did you mean path"),
            ('{ method = "GET", access = "read", path = "x" }', "path 'x'; use a path such as"),
            ('{ method = "GET", access = "read", path = "/../x" }', "path '/../x'; use a path such as"),
            ('"GET /"', "it takes a list of routes"),
        ]:
            lines = refusals(file=("f", f'[facets.x]\nkind = "echo"\nroutes = [{text}]\n'))
            (line,) = (line for line in lines if line.startswith("f:3:"))
            self.assertRegex(line, rf"^f:3: facets.x.routes.*{said}")
