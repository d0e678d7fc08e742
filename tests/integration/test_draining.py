"""What callers see of a node that drains."""

from __future__ import annotations

import signal
import time
from http.client import HTTPConnection

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, PATIENCE_S, Program


class KeepAliveTests(SynchronousTestCase):
    def test_who_keeps_a_connection_loses_no_call(self) -> None:
        """It asks every 0.25 s; from the drain's beginning each answer says that it is the last."""
        node = Program(self, "run", *FREE, *NO_OWNERS, "--set", "drain.grace=1s")
        http = node.until_complaint(r'"listener":"http","address":"([^"]+)"')[1]
        node.until_complaint('"running"')
        host, _, port = http.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        self.addCleanup(connection.close)
        answers: list[str | None] = []
        for count in range(100):
            if count == 2:
                node.kill(signal.SIGTERM)
                node.until_complaint('"draining"')
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    break  # there is no listener any more: the next node is asked
            connection.request("GET", "/app/search?q=x")
            response = connection.getresponse()
            response.read()
            self.assertEqual(response.status, 503)  # its owner is not there
            answers.append(response.getheader("Connection"))
            time.sleep(0.25)
        self.assertEqual(answers[:2], [None, None])
        self.assertGreater(len(answers), 3)
        self.assertEqual(set(answers[2:]), {"close"})
        self.assertEqual(node.end(), 0)
