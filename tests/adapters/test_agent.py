"""micronode.adapters.agent: what the owner client's tests do not reach."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from micronode.adapters.agent import OwnerAgent
from micronode.config.url import OwnerUrl
from tests.support.clients import URL
from tests.support.network import MemoryNetwork, response


class OwnerAgentTests(SynchronousTestCase):
    def test_idle_connection_that_does_not_close_is_cut(self) -> None:
        """An idle TLS connection may wait for ever for its owner's close_notify."""
        network = MemoryNetwork()
        agent = OwnerAgent(network.reactor, OwnerUrl.parse(URL), connections=2)
        exchange = agent.exchange(b"GET", b"/", Headers())
        end = network.accept()
        end.loseConnection = lambda: None  # type: ignore[method-assign]
        end.send(response(b""))
        self.successResultOf(exchange.head)
        closing = agent.close()
        self.assertNoResult(closing)
        network.reactor.advance(1.0)
        self.assertTrue(end.aborted)
        network.settle()
        self.successResultOf(closing)
