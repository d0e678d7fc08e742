"""The vectors of ``specs/oap_vectors.json`` against the sans-IO core."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.decoder import Frame, FrameDecoder, FrameError
from micronode.oap.wire.frames import encode_frame
from micronode.oap.wire.limits import MAX_CHUNK_BYTES
from tests.support import make_vectors
from tests.support.vectors import VECTORS, Vector, cuts, document, family, named, play, sessions


def _decoded(decoder: FrameDecoder, *pieces: bytes) -> list[Frame]:
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def _expected(vector: Vector) -> Frame:
    fields = vector["frame"]
    return (
        fields["flags"],
        fields["code"],
        fields["app_proto_id"],
        bytes.fromhex(fields["tenant_id"]),
        int(fields["corr_id"]),
        bytes.fromhex(fields["cap"]),
        bytes.fromhex(fields["payload"]),
    )


class FileTests(SynchronousTestCase):
    def test_generator_gives_the_committed_file(self) -> None:
        self.assertEqual(VECTORS.read_text("utf-8"), make_vectors.render())

    def test_every_member_of_the_codec_vectors_is_kept(self) -> None:
        codec = json.loads((VECTORS.parent / "oap_codec_vectors.json").read_text("utf-8"))
        for shared in codec["vectors"]:
            ours = named(shared["name"])
            self.assertEqual({key: ours[key] for key in shared}, shared)

    def test_names_are_unique(self) -> None:
        names = [vector["name"] for vector in document()["vectors"]]
        self.assertEqual(len(names), len(set(names)))

    def test_every_error_of_the_wire_has_a_vector(self) -> None:
        """Whatever the core can say by itself is said in some vector."""
        said = {vector["micronode_error"] for vector in family("decode_error")}
        for vector in sessions():
            said.update(event["error"] for event in vector["events"] if "error" in event)
        self.assertEqual(
            said,
            {
                "bad_request", "bad_hello", "bad_sequence", "bad_json", "bad_flags", "bad_version",
                "bad_length", "cap_on_non_start", "bad_compression", "conflict", "frame_too_large",
                "head_too_large", "chunk_too_large", "cap_too_large", "busy", "cancelled", "draining",
                "credit_violation",
                "decompress_cap",
            },
        )  # fmt: skip


class FrameTests(SynchronousTestCase):
    def test_decoded_in_one_piece_and_at_every_cut(self) -> None:
        for vector in family("frame"):
            data, expected = bytes.fromhex(vector["hex"]), [_expected(vector)]
            for cut in cuts(data):
                decoder = FrameDecoder()
                self.assertEqual(_decoded(decoder, data[:cut], data[cut:]), expected, vector["name"])
                self.assertFalse(decoder.mid_frame)

    def test_decoded_byte_by_byte(self) -> None:
        for vector in family("frame"):
            data = bytes.fromhex(vector["hex"])
            if len(data) > 2_000:
                continue
            pieces = (data[at : at + 1] for at in range(len(data)))
            self.assertEqual(_decoded(FrameDecoder(), *pieces), [_expected(vector)], vector["name"])

    def test_encoded(self) -> None:
        for vector in family("frame"):
            flags, code, app, tenant, corr_id, cap, payload = _expected(vector)
            assert payload is not None
            data = encode_frame(flags, code, app, corr_id, payload, tenant=tenant, cap=cap)
            self.assertEqual(data.hex(), vector["hex"], vector["name"])

    def test_all_in_one_stream(self) -> None:
        everything = b"".join(bytes.fromhex(vector["hex"]) for vector in family("frame"))
        expected = [_expected(vector) for vector in family("frame")]
        for step in (len(everything), 65_536, 1_500, 61):
            pieces = (everything[at : at + step] for at in range(0, len(everything), step))
            self.assertEqual(_decoded(FrameDecoder(), *pieces), expected)


class DecodeErrorTests(SynchronousTestCase):
    def test_seen_as_soon_as_its_bytes_are_there(self) -> None:
        for vector in family("decode_error"):
            data, after = bytes.fromhex(vector["hex"]), vector["detected_after"]
            decoder = FrameDecoder()
            for at in range(after - 1):
                self.assertEqual(_decoded(decoder, data[at : at + 1]), [], vector["name"])
            error = self.assertRaises(FrameError, _decoded, decoder, data[after - 1 : after])
            self.assertEqual(error.code.value, vector["micronode_error"], vector["name"])

    def test_the_same_at_every_cut(self) -> None:
        for vector in family("decode_error"):
            data = bytes.fromhex(vector["hex"])
            for cut in cuts(data):
                error = self.assertRaises(FrameError, _decoded, FrameDecoder(), data[:cut], data[cut:])
                self.assertEqual(error.code.value, vector["micronode_error"], vector["name"])

    def test_good_frames_before_it_come_out(self) -> None:
        good = bytes.fromhex(named("hello_null_ua")["hex"])
        for vector in family("decode_error"):
            frames = FrameDecoder(max_chunk=MAX_CHUNK_BYTES).feed(good * 2 + bytes.fromhex(vector["hex"]))
            self.assertEqual(next(frames), _expected(named("hello_null_ua")))
            self.assertEqual(next(frames), _expected(named("hello_null_ua")))
            self.assertRaises(FrameError, next, frames)


class SessionTests(SynchronousTestCase):
    def assert_played(self, vector: Vector, pieces: list[bytes], how: str) -> None:
        playback = play(vector, pieces)
        where = f"{vector['name']}, {how}"
        self.assertEqual(playback.events, vector["events"], where)
        self.assertEqual(b"".join(playback.output).hex(), "".join(vector["node"]), where)

    def test_whole(self) -> None:
        for vector in sessions():
            self.assert_played(vector, [bytes.fromhex("".join(vector["caller"]))], "whole")

    def test_frame_by_frame(self) -> None:
        for vector in sessions():
            self.assert_played(vector, [bytes.fromhex(said) for said in vector["caller"]], "by frames")

    def test_byte_by_byte(self) -> None:
        for vector in sessions():
            data = bytes.fromhex("".join(vector["caller"]))
            self.assert_played(vector, [data[at : at + 1] for at in range(len(data))], "by bytes")

    def test_at_every_cut(self) -> None:
        for vector in sessions():
            data = bytes.fromhex("".join(vector["caller"]))
            for cut in cuts(data, most=4_000):
                self.assert_played(vector, [data[:cut], data[cut:]], f"cut at {cut}")

    def test_every_start_gets_exactly_one_terminal_frame(self) -> None:
        """Counted in the vectors themselves: STARTs that were taken up against RESP|END frames."""
        for vector in sessions():
            if any(event["event"] == "connection_failed" for event in vector["events"]):
                continue
            playback = play(vector, [bytes.fromhex("".join(vector["caller"]))])
            opened = sum(event["event"] == "opened" for event in vector["events"])
            refused = sum(event["event"] == "refused" for event in vector["events"])
            terminal = sum(
                bytes.fromhex(said)[7] & 18 == 18 and said[20:24] != "0000" for said in vector["node"]
            )
            self.assertEqual(terminal + playback.node.open_streams, opened + refused, vector["name"])

    def test_a_connection_cut_off_in_a_frame_is_truncated(self) -> None:
        vector = named("cut_off")
        playback = play(vector, [bytes.fromhex("".join(vector["caller"]))])
        self.assertTrue(playback.node.close())
