"""Two nodes behind HAProxy, as ``conf/haproxy.cfg`` has them, restarted in turn under load: no call fails.

``python -m tests.bench.rolling_restarts`` does 50 of them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.rolling import Rolling


class RollingRestartTests(SynchronousTestCase):
    def test_no_call_fails(self) -> None:
        rolling = Rolling(self)
        rolling.begin()
        try:
            for name in ("53", "54"):
                rolling.restart(name)
        finally:
            seen = rolling.end()
        self.assertEqual(seen.failed, 0, f"\n{seen}")
        for kind, answers in seen.answers.items():
            self.assertGreater(sum(answers.values()), 50, kind)
