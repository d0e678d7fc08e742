"""Make ``twistd micronode`` known to twistd. This folder never gets an ``__init__.py``."""

from typing import Any

from twisted.application.service import ServiceMaker


class NodeMaker(ServiceMaker):
    """Holds SIGHUP, which twistd leaves deadly, from when it is known that a node is to run."""

    @property
    def options(self) -> Any:
        from micronode.cli.hangup import hold_hangup

        hold_hangup()
        return super().options


micronode = NodeMaker(
    "micronode",
    "micronode.cli.tap",
    "A hardened, protocol-first network node that stands in front of your services",
    "micronode",
)
