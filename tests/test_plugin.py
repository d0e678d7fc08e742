"""The twistd plugin: found, described, and never in the way of Twisted's own."""

import signal
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin, getPlugins
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import twisted.plugins
from micronode.cli import tap


class PluginTests(SynchronousTestCase):
    def test_found_by_twistd(self) -> None:
        (maker,) = [found for found in getPlugins(IServiceMaker) if found.tapname == "micronode"]
        verifyObject(IPlugin, maker)
        verifyObject(IServiceMaker, maker)
        handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGHUP, handler)
        self.assertIs(maker.options, tap.Options)
        # twistd will be at it for a while before the node can take one.
        self.assertIsNot(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)
        self.assertIs(maker.makeService, tap.makeService)

    def test_folder_is_not_a_package(self) -> None:
        root = Path(__file__).parents[1] / "twisted"
        self.assertEqual(sorted(path.name for path in root.rglob("*.py")), ["micronode_plugin.py"])
        self.assertNotIn(str(root), twisted.__file__)
