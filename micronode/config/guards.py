"""The table of keys, second part: TLS, post-quantum posture, capabilities, amnesia.

Nothing here has an effect in this release: see :func:`~micronode.config.fields.not_built`.
"""

from __future__ import annotations

import attrs

from micronode.config.fields import choice, duration, file, key, not_built
from micronode.config.kinds import Kind


@attrs.frozen(kw_only=True)
class Tls:
    """Certificates of the listeners with ``tls = true``."""

    certificate: str = not_built(file, "PEM file of the certificate and its chain.")
    private_key: str = not_built(file, "PEM file of the certificate's key; read by its owner alone.")
    client_ca: str = not_built(file, "PEM file of the authorities whose callers are let in.")
    client_allow: tuple[str, ...] = not_built(
        key, Kind.NAMES, "Names of callers' certificates that are let in; all where empty.", (), optional=True
    )
    min_version: str = not_built(choice, "Oldest version of TLS.", "1.3", default="1.3")


@attrs.frozen(kw_only=True)
class Pq:
    """Post-quantum key exchange, in and out."""

    mode: str = not_built(
        choice,
        "off: classical; hybrid: ML-KEM preferred; required: ML-KEM or no connection.",
        *("off", "hybrid", "required"),
        default="off",
        flag="pq",
    )
    adapter: str = not_built(
        choice,
        "The library that does it.",
        *("auto", "openssl", "cryptography", "liboqs"),
        default="auto",
        reload="restart",
    )
    identity_key: str = not_built(file, "File of the key by which the node signs; read by its owner alone.")


@attrs.frozen(kw_only=True)
class Auth:
    """Who may call."""

    mode: str = not_built(
        choice,
        "open: no capability is asked for, so every listener must be loopback or a Unix socket;"
        " required: every call carries one.",
        *("open", "required"),
        default="open",
        reload="restart",
    )
    key_file: str = not_built(file, "File of the root keys, one a line; not readable by everybody.")
    max_ttl: float = not_built(
        duration, "Longest life of a capability.", 86_400.0, minimum=1.0, maximum=31_536_000.0
    )
    revoked_file: str = not_built(file, "File of the ids of revoked capabilities, one a line.")
    not_before: str = not_built(
        key, Kind.INSTANT, "Capabilities issued before are refused; empty for none.", "", optional=True
    )


@attrs.frozen(kw_only=True)
class Amnesia:
    """Keeping nothing: the node writes to no disk."""

    enabled: bool = not_built(
        key,
        Kind.BOOLEAN,
        "Whether the node makes sure that it writes nothing. This release does not, either way: "
        "config show prints what is set, /version (runtime.amnesia) that nothing is enforced.",
        True,
        reload="restart",
        flag="amnesia",
        # Nothing is enforced either way, and /version says so.
        inert=(True, False),
    )
    swap: str = not_built(
        choice,
        "What swap space means: a warning, or no start.",
        "warn",
        "refuse",
        default="warn",
        reload="restart",
    )
    require: str = not_built(
        choice,
        "What has to enforce it for the node to start.",
        *("none", "kernel"),
        default="none",
        reload="restart",
    )


@attrs.frozen(kw_only=True)
class Persistence:
    """Keeping something after all."""

    dir: str = not_built(file, "Folder for what must survive a restart; empty for nothing.", reload="restart")
