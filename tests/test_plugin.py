"""The twistd plugin: found, described, and never in the way of Twisted's own."""

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
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)

    def test_folder_is_not_a_package(self) -> None:
        root = Path(__file__).parents[1] / "twisted"
        self.assertEqual(sorted(path.name for path in root.rglob("*.py")), ["micronode_plugin.py"])
        self.assertNotIn(str(root), twisted.__file__)
