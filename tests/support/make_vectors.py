"""Write ``specs/oap_vectors.json``: ``python -m tests.support.make_vectors [OUTPUT]``.

The vectors of the codec (``specs/oap_codec_vectors.json``, made with another implementation) with
every member they have, and ours beside them, in families: ``frame``, ``decode_error``, ``session`` and
``compression``. Running it again writes the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.vector_compression import chunks, heads, places
from tests.support.vector_events import subscriptions
from tests.support.vector_flow import flow
from tests.support.vector_frames import Vector, bad_frames, detected_after, good_frames
from tests.support.vector_script import HELLO_REPLY, REQUEST_ID
from tests.support.vector_sessions import broken_connections, control, greetings, refused_greetings
from tests.support.vector_streams import good_streams, ids, limits, out_of_order

SPECS = Path(__file__).resolve().parents[2] / "specs"
_SESSIONS = (
    greetings,
    refused_greetings,
    control,
    good_streams,
    ids,
    out_of_order,
    limits,
    broken_connections,
)


def vectors(shared: list[Vector]) -> Iterator[Vector]:
    """Yield every vector, those of the codec (*shared*) first in their families."""
    everything = [*shared, *good_frames(), *bad_frames()]
    for vector in everything:
        if "micronode_error" not in vector:
            yield {"family": "frame", **vector}
    for vector in everything:
        if "micronode_error" in vector:
            data = bytes.fromhex(vector["hex"])
            after = detected_after(vector["micronode_error"], data)
            yield {"family": "decode_error", **vector, "detected_after": after}
    for family in _SESSIONS:
        for session in family():
            yield {"family": "session", **session.vector()}
    for family in (flow, subscriptions):
        for session in family():
            yield {"family": "flow", **session.vector()}
    for family in (chunks, heads, places):
        for session in family():
            yield {"family": "compression", **session.vector()}


def render() -> str:
    """Return the text of the file: one vector a line, so that a change of one is a change of a line."""
    codec: dict[str, Any] = json.loads((SPECS / "oap_codec_vectors.json").read_text("utf-8"))
    shared = codec.pop("vectors")
    head = {
        **codec,
        "specification": "specs/oap-1.md, section 9",
        "hello_reply": HELLO_REPLY,
        "request_id": REQUEST_ID,
    }
    lines = ",\n".join(json.dumps(vector) for vector in vectors(shared))
    return json.dumps(head)[:-1] + ', "vectors": [\n' + lines + "\n]}\n"


if __name__ == "__main__":
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else SPECS / "oap_vectors.json"
    output.write_text(render(), "utf-8")
