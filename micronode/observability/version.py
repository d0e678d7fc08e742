"""What ``/version`` and ``micronode version`` say of the build. The shape is golden.

Read once at start; nothing here runs a program or writes a file.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from OpenSSL import SSL

import micronode
from micronode.config.schema import BUILT_FACETS, KEYS, Config
from micronode.oap.wire.limits import VERSION

SERVICE: Final = "micronode"
#: A commit's name, in either of git's hashes.
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def build_version() -> dict[str, Any]:
    """Return the part of ``/version`` that is the same for every configuration."""
    package = Path(micronode.__file__).parent
    return {
        "service": SERVICE,
        "version": micronode.__version__,
        "git_sha": read_git_sha(package.parent),
        "build_ts": _written(package / "__init__.py"),
        "python": platform.python_version(),
        "api": {"http": "v1", "oap": [VERSION]},
        "build": {
            # What is built in. An extra that is installed adds nothing that the node could do.
            "features": sorted(BUILT_FACETS),
            "twisted": importlib.metadata.version("twisted"),
            "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii", "replace"),
        },
    }


def runtime_version(config: Config, facets: Iterable[str]) -> dict[str, Any]:
    """Return ``runtime`` of ``/version``: what is in force. What does not exist yet says so.

    :param facets: the names of the facets that are served, a host's own among them.
    """
    return {
        "config_sha": config.sha(),
        "profile": config.node.profile,
        "amnesia": {"enabled": False, "enforced": "none", "not_covered": []},
        "pq": {"mode": "off", "adapter": None, "kex": None, "sign": None},
        "facets": list(facets),
        # Those that are in force; one whose enforcement is not built yet would be a promise.
        "limits": {
            name: value for name, value in attrs.asdict(config.limits).items() if KEYS[f"limits.{name}"].built
        },
        "overrides": config.overrides(),
    }


def read_git_sha(checkout: Path) -> str:
    """Return the commit that *checkout* has checked out, or ``unknown`` where it is no checkout."""
    try:
        sha = _git_head(checkout / ".git")
    except (OSError, ValueError):
        return "unknown"
    return sha if _SHA.fullmatch(sha) else "unknown"


def _git_head(git: Path) -> str:
    """Read what HEAD names, or ``""`` where it names nothing.

    :raises OSError: *git* is not there, or cannot be read.
    :raises ValueError: what is there is not text.
    """
    if git.is_file():
        # A worktree: a file that says where its folder is.
        git = git.parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
    head = (git / "HEAD").read_text("ascii").strip()
    if not head.startswith("ref: "):
        return head
    ref = head.removeprefix("ref: ")
    common = git / "commondir"
    if common.is_file():
        # ... and a worktree keeps its branches with the checkout it belongs to.
        git = git / common.read_text("utf-8").strip()
    loose = git / ref
    if loose.is_file():
        return loose.read_text("ascii").strip()
    for line in (git / "packed-refs").read_text("utf-8").splitlines():
        sha, _, name = line.partition(" ")
        if name == ref:
            return sha
    return ""


def _written(path: Path) -> str:
    """When the installed code was written, in UTC: wheels and checkouts keep it as the file's time."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
