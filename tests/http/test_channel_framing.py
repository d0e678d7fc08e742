"""Every request of ``docs/FRAMING.rst``, in memory: one verdict, however it is cut."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.http.request import Request
from tests.http.support import Connection, Plane, make_metrics, make_open_site
from tests.support.frontends import read_answers
from tests.support.smuggling import PAYLOADS, Payload

#: What only routes know: here there is one that takes everything.
_FROM_ROUTES = {404, 405, 413}
_MUTATIONS = (
    b"",
    b"\r",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"0",
    b"5",
    b"\0",
    b"\xff",
    b"chunked",
    b"HTTP/1.0",
)


class FramingTests(SynchronousTestCase):
    def served(self, data: bytes, *, trickled: bool) -> tuple[list[int], bool, list[str]]:
        """Return the statuses of the answers to *data*, whether it was closed, and which requests ran."""
        ran: list[str] = []

        def serve(request: Request) -> None:
            ran.append(f"{request.head.method} {request.head.target} {request.bytes_in}")
            request.sink.start(ResponseHead(length=0))
            request.sink.finish()

        clock = Clock()
        plane = Plane(site=make_open_site(serve, clock=clock, metrics=make_metrics()))
        connection: Connection = plane.connect()
        (connection.trickle if trickled else connection.send)(data)
        if not connection.closing:
            # A head or a body that is not whole is given up; a connection that is idle is kept.
            clock.advance(15)
        answers = [answer.status for answer in read_answers(connection.raw())]
        closed = connection.closing
        connection.lose()
        self.assertEqual(clock.getDelayedCalls(), [])
        return answers, closed, ran

    def check(self, payload: Payload) -> None:
        """Whole and byte by byte it gets its answers, and nothing that is refused has run."""
        whole = self.served(payload.run(1), trickled=False)
        self.assertEqual(self.served(payload.run(1), trickled=True), whole)
        answers, closed, ran = whole
        self.assertEqual(answers, list(payload.outcome.statuses))
        self.assertEqual(closed, payload.outcome.closes)
        self.assertEqual(len(ran), answers.count(200))

    def test_every_payload(self) -> None:
        for payload in PAYLOADS:
            if _FROM_ROUTES.isdisjoint(payload.outcome.statuses):
                with self.subTest(group=payload.group, name=payload.name):
                    self.check(payload)

    def test_mutations_get_one_verdict_too(self) -> None:
        """Whatever it is, it is no defect, and does not depend on how it is cut."""
        source = random.Random(3)
        short = [each.run(1) for each in PAYLOADS if len(each.data) < 1_000]
        for _ in range(400):
            data = bytearray(source.choice(short))
            for _ in range(source.randrange(1, 4)):
                at = source.randrange(len(data))
                data[at : at + source.randrange(2)] = source.choice(_MUTATIONS)
            whole = self.served(bytes(data), trickled=False)
            self.assertEqual(self.served(bytes(data), trickled=True), whole, bytes(data))
            answers, _, ran = whole
            self.assertLessEqual(len(ran), len(answers), bytes(data))
            # An answer that refuses is the last one.
            self.assertEqual([each for each in answers[:-1] if each != 200], [], bytes(data))

    def test_names_are_told_apart(self) -> None:
        self.assertEqual(len({(each.group, each.name) for each in PAYLOADS}), len(PAYLOADS))
        self.assertEqual(len({each.data for each in PAYLOADS}), len(PAYLOADS))
