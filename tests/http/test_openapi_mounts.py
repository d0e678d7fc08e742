"""micronode.http.openapi_mounts: custom facets in the document, which stays a valid one."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.config.routes import Route
from micronode.facets.custom import CustomFacet, echo
from tests.http.test_openapi import document


class MountedTests(SynchronousTestCase):
    def test_each_route_is_told_of_once(self) -> None:
        routes = (
            Route("GET", "/v1/{id}", "read"),
            Route("POST", "/v1/{key}", "write"),
            Route("GET", "/{rest}", "read"),
            Route("PUT", "/{rest}", "write"),
            Route("OPTIONS", "/", "read"),
        )
        told = document(*CustomFacet("own", routes, echo, max_body=5_000_000).operations())
        paths = {path: set(each) for path, each in told["paths"].items() if path.startswith("/app/own")}
        self.assertEqual(
            paths,
            {
                "/app/own/v1/{id}": {"get", "post"},
                "/app/own/{rest}": {"get", "put"},
                "/app/own/": {"options"},
            },
        )
        ids = [one["operationId"] for path in told["paths"].values() for one in path.values()]
        self.assertEqual(len(ids), len(set(ids)))
        get, post = (told["paths"]["/app/own/v1/{id}"][method] for method in ("get", "post"))
        self.assertEqual(get["parameters"][0]["name"], "id")
        self.assertEqual(post["parameters"][0]["name"], "id", "one name for one place")
        self.assertEqual((get["x-micronode-access"], post["x-micronode-access"]), ("read", "write"))
        self.assertNotIn("requestBody", get)
        self.assertEqual(post["requestBody"]["x-micronode-max-bytes"], 1 << 20)
        # Whatever the service answers is documented.
        self.assertEqual(set(get["responses"]), {"default"})
        self.assertNotIn("content", get["responses"]["default"])

    def test_of_two_that_look_the_same_there_the_first_counts(self) -> None:
        routes = (Route("GET", "/{id}", "read"), Route("GET", "/{rest}", "read"))
        told = document(*CustomFacet("own", routes, echo, max_body=1).operations())
        self.assertEqual(list(told["paths"]["/app/own/{id}"]), ["get"])
        self.assertEqual(told["paths"]["/app/own/{id}"]["get"]["operationId"], "own.call.1")
