"""micronode.adapters.build: configuration becomes clients."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.build import make_owner_client
from micronode.config.schema import Config
from micronode.errors import ErrorCode, NodeError
from tests.support.measures import make_metrics
from tests.support.network import MemoryNetwork, response


class MakeOwnerClientTests(SynchronousTestCase):
    def test_settings_take_effect(self) -> None:
        config = Config.from_mapping(
            {
                "owners": {"index": {"url": "http://10.0.0.9:7", "timeout": "2s", "concurrency": 1}},
                "timeouts": {"idle": "9s", "stall": "3s"},
            }
        )
        network = MemoryNetwork()
        client = make_owner_client(
            "index", config.owners["index"], config.timeouts, network.reactor, make_metrics()
        )
        settings = client.settings
        self.assertEqual((client.name, settings.idle_s, settings.stall_s), ("index", 9.0, 3.0))
        called = client.call(b"GET", b"/")
        self.assertEqual(network.destination(), ("10.0.0.9", 7))
        refused = self.failureResultOf(client.call(b"GET", b"/"), NodeError).value
        self.assertIs(refused.code, ErrorCode.OWNER_UNAVAILABLE)
        network.reactor.advance(2.0)
        self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.OWNER_TIMEOUT)

    def test_who_waits_for_a_turn(self) -> None:
        """Questions of the policy, which are quick, and nobody else."""
        config = Config.from_mapping({"owners": {"policy": {"url": "http://10.0.0.9:7", "concurrency": 1}}})
        network = MemoryNetwork()
        client = make_owner_client(
            "policy", config.owners["policy"], config.timeouts, network.reactor, make_metrics()
        )
        first, second = client.call(b"GET", b"/"), client.call(b"GET", b"/")
        self.assertNoResult(second)
        network.accept().send(response(b""))
        self.successResultOf(first).discard()
        network.serve().send(response(b""))
        self.assertEqual(self.successResultOf(second).status, 200)

    def test_only_the_index_has_a_bound(self) -> None:
        config = Config()
        for name, fits in (("index", False), ("storage", True)):
            network = MemoryNetwork()
            client = make_owner_client(
                name, config.owners[name], config.timeouts, network.reactor, make_metrics()
            )
            called = client.call(b"GET", b"/")
            network.accept().send(response(b"", length=2**33))
            if fits:
                self.assertEqual(self.successResultOf(called).length, 2**33)
            else:
                self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.BAD_GATEWAY)
