"""Flags, codes and profiles as the wire has them; encoding is in ``test_vectors``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire import frames
from micronode.oap.wire.frames import HEADER, LEGAL_FLAGS, Code, Control, Flag, encode_frame
from micronode.oap.wire.limits import HEADER_BYTES
from micronode.oap.wire.profiles import Profile


class ValueTests(SynchronousTestCase):
    def test_flags(self) -> None:
        names = ("REQ", "RESP", "EVENT", "START", "END", "ACK_REQ", "COMP", "APP_E2E")
        self.assertEqual([flag.name for flag in Flag], list(names))
        for bit, name in enumerate(names):
            self.assertEqual(getattr(frames, name), 1 << bit)

    def test_legal_flags_have_one_direction(self) -> None:
        self.assertEqual(len(LEGAL_FLAGS), 3 * 32)
        self.assertEqual(LEGAL_FLAGS & {0, 3, 5, 6, 7, 256}, set())

    def test_codes(self) -> None:
        self.assertEqual([int(code) for code in Code], [0, 200, 206, 499])
        self.assertEqual([int(code) for code in Control], [100, 102, 200, 503])

    def test_profiles(self) -> None:
        self.assertEqual([int(profile) for profile in Profile], [0, 0x0101, 0x0201, 0x0401, 0x0402, 0x0501])


class EncodeTests(SynchronousTestCase):
    def test_header_is_38_bytes(self) -> None:
        self.assertEqual((HEADER.size, len(encode_frame(1, 0, 0, 1))), (HEADER_BYTES, HEADER_BYTES))

    def test_takes_any_buffer(self) -> None:
        self.assertEqual(
            encode_frame(2, 206, 0x0101, 7, memoryview(b"abc")[1:]), encode_frame(2, 206, 0x0101, 7, b"bc")
        )
