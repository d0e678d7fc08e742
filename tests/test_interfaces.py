"""Every class that says it implements one of the node's interfaces has its methods, arguments included.

What its methods do is the business of a contract, of which each interface has one.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass, Method
from zope.interface.verify import verifyClass

import micronode
from micronode import interfaces

INTERFACES: dict[str, InterfaceClass] = {
    name: value
    for name, value in vars(interfaces).items()
    if isinstance(value, InterfaceClass) and name != "Interface"
}


def node_classes() -> set[type]:
    """Return the classes of the node; the command line and the reference owners are none of it."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(micronode.__path__, "micronode."):
        if module.name.startswith(("micronode.cli", "micronode.devowners", "micronode.__main__")):
            continue
        loaded = importlib.import_module(module.name)
        found.update(
            value
            for _, value in inspect.getmembers(loaded, inspect.isclass)
            if value.__module__ == module.name
        )
    return found


class InterfaceTests(SynchronousTestCase):
    """The seams of the node."""

    def test_implementers(self) -> None:
        implemented: set[str] = set()
        for each in node_classes():
            for interface in INTERFACES.values():
                if interface in implementedBy(each):
                    verifyClass(interface, each)
                    implemented.add(interface.__name__)
        missing = set(INTERFACES) - implemented
        self.assertEqual(missing, set(), "nobody implements them")

    def test_promises_are_written_down(self) -> None:
        for interface in INTERFACES.values():
            self.assertTrue(interface.__doc__, interface.__name__)
            for name, description in interface.namesAndDescriptions():
                self.assertTrue(description.__doc__, f"{interface.__name__}.{name}")

    def test_methods_have_no_self(self) -> None:
        """Zope's signatures are what a caller writes."""
        for interface in INTERFACES.values():
            for name, description in interface.namesAndDescriptions():
                if isinstance(description, Method):
                    self.assertNotIn("self", description.getSignatureInfo()["positional"], name)

    def test_contracts(self) -> None:
        told = "".join(path.read_text("utf-8") for path in (Path(__file__).parent / "contracts").glob("*.py"))
        held = {
            name for name in INTERFACES if re.search(rf"verifyObject\({name},|class:`[^`]*\b{name}`", told)
        }
        self.assertEqual(set(INTERFACES) - held, set(), "no contract holds them")
