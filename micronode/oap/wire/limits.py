"""The protocol's limits, each with its reason: the one place that names 1 MiB, 64 KiB and 10x.

Configuration may lower ``MAX_FRAME_BYTES``, ``MAX_CHUNK_BYTES`` and ``DECOMPRESS_RATIO`` and never raise
them. ``specs/oap-1.md`` section 7.
"""

from typing import Final

#: ver, and the only value of it.
VERSION: Final = 1
#: Fixed header: len, ver, flags, code, app_proto_id, tenant_id, cap_len, corr_id.
HEADER_BYTES: Final = 38
#: Length of a whole frame. A reader never has to hold more than this for one frame.
MAX_FRAME_BYTES: Final = 1_048_576
#: The smallest ``max_frame`` a caller may ask for: a head and a useful chunk still fit.
MIN_MAX_FRAME_BYTES: Final = 4_096
#: Payload of a frame without START: bounds how long one stream may hold the wire.
MAX_CHUNK_BYTES: Final = 65_536
#: Payload of a frame with START, and of HELLO: strict JSON of this size costs about 2 ms to parse.
MAX_HEAD_BYTES: Final = 16_384
#: Capability text: a macaroon with 32 caveats fits several times over.
MAX_CAP_BYTES: Final = 8_192
#: JSON nesting in heads; the stock parser recurses once a level.
MAX_JSON_DEPTH: Final = 16
#: Integers a double holds exactly (JSON peers may use doubles).
MAX_JSON_INTEGER: Final = 2**53
#: Inflated to compressed size; honest text and JSON stay below it, mostly.
DECOMPRESS_RATIO: Final = 10
#: Below this size the ratio does not apply: a tiny frame of repeated text is harmless.
DECOMPRESS_FLOOR_BYTES: Final = 4_096
#: Open streams a connection may have.
MAX_INFLIGHT: Final = 64
#: Body bytes a stream may buffer, and the window of a stream that asked for one (ACK_REQ).
STREAM_WINDOW_BYTES: Final = 131_072
#: Body bytes all windowed uploads of a connection may have in flight.
CONNECTION_WINDOW_BYTES: Final = 1_048_576
#: Payload of PING.
MAX_PING_BYTES: Final = 64
#: What is read and thrown away after a connection error, so that the error frame is not lost to a reset.
LINGER_BYTES: Final = 1_048_576
#: ... and for how long, in seconds.
LINGER_S: Final = 1.0
