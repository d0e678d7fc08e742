"""What the node before a mailbox is started with."""

from __future__ import annotations

import argparse

from twisted.trial.unittest import SynchronousTestCase

from tests.support.feednode import read_topic


class OptionTests(SynchronousTestCase):
    def test_topics(self) -> None:
        self.assertEqual([read_topic(text) for text in ("jobs=3", "a=b=0")], [("jobs", 3), ("a=b", 0)])

    def test_mistakes(self) -> None:
        for text in ("jobs", "jobs=", "=3", "jobs=x", "jobs=-1", "jobs=100001", "jobs=" + "9" * 5000):
            error = self.assertRaises(argparse.ArgumentTypeError, read_topic, text)
            self.assertIn("is not TOPIC=COUNT", str(error))
