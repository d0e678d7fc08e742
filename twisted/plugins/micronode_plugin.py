"""Make ``twistd micronode`` known to twistd. This folder never gets an ``__init__.py``."""

from twisted.application.service import ServiceMaker

micronode = ServiceMaker(
    "micronode",
    "micronode.cli.tap",
    "A hardened, protocol-first network node that stands in front of your services",
    "micronode",
)
