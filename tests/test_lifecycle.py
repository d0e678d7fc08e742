"""The life of a node, every input in every state."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.lifecycle import Lifecycle, State, make_lifecycle

#: How to get into each state.
WAYS: dict[State, tuple[str, ...]] = {
    State.STARTING: (),
    State.RUNNING: ("started",),
    State.DRAINING: ("started", "drain"),
    State.STOPPED: ("started", "drain", "stopped"),
}
#: Where each input leads; a pair that is not here changes nothing.
NEXT: dict[tuple[State, str], State] = {
    (State.STARTING, "started"): State.RUNNING,
    (State.STARTING, "drain"): State.DRAINING,
    (State.RUNNING, "drain"): State.DRAINING,
    (State.DRAINING, "stopped"): State.STOPPED,
}
INPUTS = ("started", "drain", "stopped")


class LifecycleTests(SynchronousTestCase):
    """make_lifecycle()."""

    def setUp(self) -> None:
        self.seen: list[State] = []

    def machine_in(self, state: State) -> Lifecycle:
        machine = make_lifecycle(self.seen.append)
        for each in WAYS[state]:
            getattr(machine, each)()
        self.assertEqual(self.seen[-1:], [state] if WAYS[state] else [])
        self.seen.clear()
        return machine

    def test_every_input_in_every_state(self) -> None:
        for state in State:
            for name in INPUTS:
                machine = self.machine_in(state)
                getattr(machine, name)()
                expected = NEXT.get((state, name))
                self.assertEqual(self.seen, [expected] if expected else [], (state, name))
                self.seen.clear()

    def test_nothing_is_told_of_the_beginning(self) -> None:
        make_lifecycle(self.seen.append)
        self.assertEqual(self.seen, [])

    def test_a_stop_before_the_start(self) -> None:
        """A node whose start failed drains and stops like any other."""
        machine = make_lifecycle(self.seen.append)
        for name in ("drain", "started", "stopped", "drain"):
            getattr(machine, name)()
        self.assertEqual(self.seen, [State.DRAINING, State.STOPPED])

    def test_machines_are_apart(self) -> None:
        """A host program may hold several nodes."""
        others: list[State] = []
        machine = make_lifecycle(self.seen.append)
        make_lifecycle(others.append)
        machine.started()
        self.assertEqual((self.seen, others), ([State.RUNNING], []))

    def test_names(self) -> None:
        """They are shown by /readyz and node_state, which are golden."""
        self.assertEqual([state.value for state in State], ["starting", "running", "draining", "stopped"])
