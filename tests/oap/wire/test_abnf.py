"""The ABNF that ``specs/oap-1.md`` collects, against the vectors and against the code's own tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from abnf import ParseError, Rule
from twisted.trial.unittest import SynchronousTestCase

from micronode.facets.cid import make_cid
from micronode.oap.wire import limits
from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.frames import END, EVENT, LEGAL_FLAGS, RESP, START, encode_frame
from tests.support import printed, vectors
from tests.support.abnf_regex import Grammar, grammar

#: What stands for itself, rather than in another rule.
_TOPS = {
    *("frame", "from-caller", "from-node", "request", "answer"),
    *("capability-text", "idempotency-key", "prove", "corr-id-text", "key"),
}
_TEXTS = {"capability-text", "idempotency-key", "prove", "corr-id-text", "key", "cid"}
#: Events of the vectors that a caller brings about by breaking a rule.
_BREACHES = {"failed", "refused", "connection_failed"}
_GOOD = encode_frame(START | 1, 0, 0x0402, 1, b"{}")


@cache
def rules() -> Grammar:
    return Grammar(grammar())


@cache
def pattern(name: str) -> re.Pattern[bytes]:
    return rules().compile(name)


def matches(name: str, data: bytes) -> bool:
    return pattern(name).fullmatch(data) is not None


@cache
def tokens(top: str) -> dict[str, str]:
    """Return a letter for each rule that is one frame of the session that *top* is."""
    frames = sorted(name for name in rules().uses(top) if "len" in rules().uses(name))
    return dict(zip(frames, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))


def kinds(top: str, data: bytes) -> list[str]:
    """Return the rules that match one frame, of those that *top* is made of."""
    return [name for name in tokens(top) if matches(name, data)]


def conforms(rule: str, top: str, frames: list[bytes]) -> bool:
    """Whether *frames*, one after the other, are what *rule* says; *top* knows all kinds of frames."""
    said = [kinds(top, frame) for frame in frames]
    if any(len(found) != 1 for found in said):
        return False
    letters = "".join(tokens(top)[kind] for [kind] in said)
    return re.fullmatch(rules().pattern(rule, tokens(top)), letters) is not None


def split(data: bytes) -> Iterator[bytes]:
    """Yield the frames that *data* says it has; what says nonsense is one."""
    while data:
        length = max(38, int.from_bytes(data[:4], "big"))
        yield data[:length]
        data = data[length:]


def bytes_of(said: object) -> list[bytes]:
    """Return frames of a session vector one by one."""
    assert isinstance(said, list)
    return [frame for part in said for frame in split(bytes.fromhex(part))]


class GrammarTests(SynchronousTestCase):
    def test_it_is_abnf_of_which_every_rule_is_used(self) -> None:
        used = {name for rule in rules().names for name in rules().uses(rule)}
        self.assertEqual(set(rules().names) - used, _TOPS)

    def test_every_rule_is_defined(self) -> None:
        for name in rules().names:
            self.assertTrue(rules().pattern(name), name)

    def test_the_reader_refuses_what_is_no_abnf(self) -> None:
        for wrong in ("a = \r\n", "a = %x0G\r\n", "= b\r\n", "a = ( b\r\n", grammar() + "a = 'b'\r\n"):
            self.assertRaises(ParseError, Grammar, wrong)
        self.assertRaises(ValueError, Grammar, "a = b\r\na = c\r\n")
        self.assertRaises(KeyError, Grammar("a = b\r\n").compile, "a")

    def test_both_matchers_agree_on_what_is_small(self) -> None:
        """The package's own matcher and our expressions, where the former is quick enough."""

        class Ours(Rule):
            pass

        Ours.load_grammar(grammar())
        names = ("frame", *tokens("from-caller"), *tokens("from-node"))
        agreed = {True: 0, False: 0}
        for vector in [*vectors.family("frame"), *vectors.family("decode_error")][::4]:
            data = bytes.fromhex(vector["hex"])
            if len(data) > 48:
                continue
            for name in names:
                try:
                    Ours(name).parse_all(data.decode("latin-1"))
                    theirs = True
                except ParseError:
                    theirs = False
                self.assertEqual(matches(name, data), theirs, f"{vector['name']} as {name}")
                agreed[theirs] += 1
        self.assertTrue(min(agreed.values()) > 10, agreed)


class FrameTests(SynchronousTestCase):
    def test_every_legal_frame(self) -> None:
        for vector in vectors.family("frame"):
            data = bytes.fromhex(vector["hex"])
            legal = vector["frame"]["len"] - 38 - vector["frame"]["cap_len"] <= (
                limits.MAX_HEAD_BYTES if vector["frame"]["flags"] & START else limits.MAX_CHUNK_BYTES
            )
            self.assertEqual(matches("frame", data), legal, vector["name"])

    def test_every_wrong_frame(self) -> None:
        """Nothing but what is wrong is left: what comes behind it is a good frame's.

        That the capability ends inside its frame is arithmetic, which no ABNF can say.
        """
        beyond = 0
        for vector in vectors.family("decode_error"):
            data, after = bytes.fromhex(vector["hex"]), vector["detected_after"]
            if vector["micronode_error"] == "bad_length" and after == 30:
                beyond += 1
                continue
            self.assertFalse(matches("frame", data), vector["name"])
            self.assertFalse(matches("frame", data[:after] + _GOOD[after:]), vector["name"])
        self.assertTrue(matches("frame", _GOOD))
        self.assertEqual(beyond, 3)

    def test_flags(self) -> None:
        for flags in range(0x400):
            data = encode_frame(flags, 0, 1, 1)
            self.assertEqual(matches("frame", data), flags in LEGAL_FLAGS, hex(flags))

    def test_lengths(self) -> None:
        top = limits.MAX_FRAME_BYTES
        for length in (0, 1, 37, 38, 255, 256, 65_535, 65_536, top - 1, top, top + 1, top + 65_536, 1 << 24):
            self.assertEqual(matches("len", length.to_bytes(4, "big")), 38 <= length <= top, length)

    def test_ends_of_ranges(self) -> None:
        for cap in (limits.MAX_CAP_BYTES, limits.MAX_CAP_BYTES + 1):
            legal = cap <= limits.MAX_CAP_BYTES
            self.assertEqual(matches("cap-len", cap.to_bytes(2, "big")), legal)
            self.assertEqual(matches("capability", bytes(cap)), legal)
        for name, most in (("head", limits.MAX_HEAD_BYTES), ("chunk", limits.MAX_CHUNK_BYTES)):
            self.assertTrue(matches(name, bytes(most)))
            self.assertFalse(matches(name, bytes(most + 1)))
        for code in range(65_536):
            data = code.to_bytes(2, "big")
            self.assertEqual(matches("failed", data), 400 <= code <= 599 and code != 499, code)
            self.assertEqual(matches("success", data), 200 <= code <= 299, code)
        for number in (0, *(1 << bit for bit in range(64)), (1 << 64) - 1):
            self.assertEqual(matches("id", number.to_bytes(8, "big")), number > 0, number)

    def test_a_frame_the_decoder_takes_is_one(self) -> None:
        """Each octet of a header, changed: decoder and grammar say the same of the frame."""
        for at in range(38):
            for value in (0, 1, 0x10, 0x20, 0x21, 0x26, 0x7F, 0x80, 0xFF):
                data = bytearray(_GOOD)
                data[at] = value
                try:
                    taken = len(list(FrameDecoder().feed(bytes(data)))) == 1
                except FrameError:
                    taken = False
                # Where len or cap-len lie, a decoder waits for more or finds too little.
                if at not in (2, 3, 28, 29):
                    self.assertEqual(matches("frame", bytes(data)), taken, (at, value))


class SessionTests(SynchronousTestCase):
    """Sessions of the vectors, frame by frame; no two rules of a direction match the same frame."""

    def test_what_the_node_says(self) -> None:
        answers = 0
        for vector in vectors.sessions():
            frames = bytes_of(vector["node"])
            where = f"{vector['name']}: {[kinds('from-node', frame) for frame in frames]}"
            self.assertTrue(conforms("from-node", "from-node", frames), where)
            refused = {event["corr_id"] for event in vector["events"] if event["event"] == "refused"}
            for corr_id, said in _streams(frames).items():
                if str(corr_id) in refused:
                    continue  # what opens nothing is answered under an id that may have an answer already
                if any(kinds("from-node", frame)[0] in _TERMINAL for frame in said):
                    self.assertTrue(conforms("answer", "from-node", said), f"{where}, {corr_id}")
                    answers += 1
        self.assertTrue(answers > 20, answers)

    def test_what_callers_say(self) -> None:
        conforming = requests = 0
        for vector in vectors.sessions():
            if _BREACHES & {event["event"] for event in vector["events"]}:
                continue
            frames = bytes_of(vector["caller"])
            if any(event.get("reason") == "closed" for event in vector["events"]):
                continue  # what is said on a stream that is over is dropped, whatever it is
            where = f"{vector['name']}: {[kinds('from-caller', frame) for frame in frames]}"
            self.assertTrue(conforms("from-caller", "from-caller", frames), where)
            conforming += 1
            for corr_id, said in _streams(frames[1:]).items():
                self.assertTrue(conforms("request", "from-caller", said), f"{where}, {corr_id}")
                requests += 1
        self.assertTrue(min(conforming, requests) > 20, (conforming, requests))

    def test_the_examples(self) -> None:
        found = {}
        for name, data in printed.examples().items():
            found[name] = kinds("from-caller", data) or kinds("from-node", data)
        self.assertEqual(
            [kind for [kind] in found.values()],
            [
                *("hello", "hello-answer", "request-whole", "answer-head", "answer-chunk", "answer-end"),
                *("request-start", "request-chunk", "request-last", "cancel", "cancelled", "failure"),
                *("request-whole", "message", "credit", "ping", "extension", "goaway", "connection-error"),
            ],
        )
        for name, kind in (("its echo", "pong"), ("GOAWAY", "node-goaway")):  # either side may say them
            self.assertEqual(kinds("from-node", printed.examples()[name]), [kind])

    def test_messages(self) -> None:
        """A subscription's messages come after a head, one a frame."""
        head = encode_frame(RESP | START, 200, 0x0201, 1, b"{}")
        message = encode_frame(EVENT, 206, 0x0201, 1, b"{}")
        end = encode_frame(RESP | END, 200, 0x0201, 1)
        for frames in ([head, message, message, end], [head, end]):
            self.assertTrue(conforms("answer", "from-node", frames))
        empty = encode_frame(EVENT, 206, 0x0201, 1)
        for frames in ([message, end], [head, empty, end], [head, end, message], [head, head, end], [head]):
            self.assertFalse(conforms("answer", "from-node", frames))

    def test_breaches(self) -> None:
        """What a frame shows by itself or by its place, the grammar refuses as the node does."""
        known = {"bad_sequence", "bad_request", "bad_flags", "bad_version", "cap_on_non_start"}
        refused = 0
        for vector in vectors.family("session"):
            errors = {event["error"] for event in vector["events"] if "error" in event}
            names_another = vector["name"] in ("bad_sequence_app_changes", "bad_sequence_tenant_changes")
            if not errors or not errors <= known or names_another or vector["name"].startswith("hello_"):
                continue  # the rest is in numbers and in JSON
            frames = bytes_of(vector["caller"])
            streams = _streams(frames[1:]).values()
            self.assertFalse(
                conforms("from-caller", "from-caller", frames)
                and all(conforms("request", "from-caller", said) for said in streams),
                vector["name"],
            )
            refused += 1
        self.assertTrue(refused > 30, refused)


_TERMINAL = {"answer-end", "answer-whole", "failure", "cancelled"}


def _streams(frames: list[bytes]) -> dict[int, list[bytes]]:
    """Return the frames of each stream."""
    found: dict[int, list[bytes]] = {}
    for frame in frames:
        if frame[10:12] != b"\0\0":
            found.setdefault(int.from_bytes(frame[30:38], "big"), []).append(frame)
    return found


class TextTests(SynchronousTestCase):
    def test_texts(self) -> None:
        cid = make_cid(bytes(range(32))).encode()
        good = {
            "cid": [cid],
            "key": [b"name:klein", cid, "name:ü".encode()],
            "prove": [b"0f" * 16, b"0F" * 32],
            "corr-id-text": [b"0", b"1", b"18446744073709551615"],
            "idempotency-key": [b"!", b"~" * 255],
            "capability-text": [b"token", b"-_" * 4096],
        }
        bad = {
            "cid": [cid.upper(), cid[:-1], cid + b"0", b"B3:" + cid[3:]],
            "key": [b"name:", b"Name:x", b"klein", cid[:-1]],
            "prove": [b"0f" * 15, b"0g" * 16, b"0f" * 24],
            "corr-id-text": [b"", b"01", b"-1", b"1" * 21],
            "idempotency-key": [b"", b" ", b"~" * 256, b"\xfc"],
            "capability-text": [b"", b"a=", b"a" * 8193],
        }
        self.assertEqual(set(good), set(bad))
        self.assertEqual(set(good), _TEXTS)
        for name in good:
            for text in good[name]:
                self.assertTrue(matches(name, text), (name, text))
            for text in bad[name]:
                self.assertFalse(matches(name, text), (name, text))
