"""micronode run: binding, and what is said when it cannot."""

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, succeed

from micronode.bus import EventBus
from micronode.cli.exits import CommandError
from micronode.cli.run import start_node, stop_node
from micronode.concurrency.listening import ListenError
from tests.cli.support import CommandTestCase


class SpyService(Service):
    """Records its start; refuses one of its steps where told."""

    def __init__(self, refuse: str = "") -> None:
        self.refuse = refuse
        self.steps: list[str] = []
        self.bus = EventBus()

    def reload(self) -> Deferred[None]:
        self.steps.append("reload")
        return succeed(None)

    def hurry(self) -> None:
        self.steps.append("hurry")

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name == self.refuse:
            raise ListenError("http.listen 127.0.0.1:5310: address already in use; stop it")

    def privilegedStartService(self) -> None:
        self.step("privileged")

    def startService(self) -> None:
        self.step("start")
        super().startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return succeed(None)


class StopNodeTests(CommandTestCase):
    def test_drains_what_was_bound(self) -> None:
        for addresses, stopped in (({}, 0), ({"admin": "127.0.0.1:1"}, 1)):
            node = SpyService()
            node.addresses = addresses  # type: ignore[attr-defined]
            node.startService()
            self.successResultOf(Deferred.fromCoroutine(stop_node(node)))  # type: ignore[arg-type]
            self.assertEqual(node.running, 1 - stopped)


class StartNodeTests(CommandTestCase):
    def node(self, service: SpyService) -> MultiService:
        node = MultiService()
        service.setServiceParent(node)
        return node

    def test_both_steps(self) -> None:
        service = SpyService()
        start_node(self.node(service))  # type: ignore[arg-type]
        self.assertEqual(service.steps, ["privileged", "start"])

    def test_a_listener_that_cannot_be_bound(self) -> None:
        for step in ("privileged", "start"):
            node = self.node(SpyService(step))
            error = self.assertRaises(CommandError, start_node, node)
            self.assertEqual(error.code, 69)
            self.assertEqual(error.lines, ("http.listen 127.0.0.1:5310: address already in use; stop it",))
