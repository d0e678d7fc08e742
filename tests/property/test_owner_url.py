"""Owners' URLs: whatever configuration takes can be connected to; the rest is refused, and never crashes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.address import owner_endpoint
from micronode.config.url import OwnerUrl

_SCHEMES = st.sampled_from(("http://", "https://", "unix:/", "http+unix:///", ""))
_PIECES = st.sampled_from(
    (
        "a",
        "_",
        "-",
        "--",
        ".",
        "xn--",
        "xn--bcher-kva",
        "a" * 63,
        "[",
        "]",
        "::1",
        "%lo",
        ":",
        "80",
        "/",
        "\\",
    )
)


class OwnerUrlTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(_SCHEMES, st.lists(_PIECES, max_size=5).map("".join))
    def test_what_is_read_can_be_connected_to(self, scheme: str, rest: str) -> None:
        try:
            url = OwnerUrl.parse(scheme + rest)
        except ValueError:
            return
        self.assertEqual(OwnerUrl.parse(str(url)), url)
        connecting = owner_endpoint(MemoryReactorClock(), url, 1.0).connect(None)
        connecting.cancel()
        self.failureResultOf(connecting, ConnectingCancelledError)

    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        for each in (text, f"https://{text}", f"unix:/{text}"):
            try:
                OwnerUrl.parse(each)
            except ValueError as error:
                self.assertNotIn("\n", str(error))
