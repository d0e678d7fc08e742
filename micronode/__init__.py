"""micronode: a hardened, protocol-first network node that stands in front of your services.

The public surface is small on purpose: :class:`Config` describes a node, :func:`make_node`
builds it as a Twisted service. Both load on first use, so that importing
``micronode.oap.wire`` (standard library only) stays free of Twisted.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from micronode.config.schema import Config
    from micronode.node import make_node

__version__ = "0.1.0"
__all__ = ["Config", "__version__", "make_node"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (:pep:`562`)."""
    if name == "Config":
        from micronode.config.schema import Config

        return Config
    if name == "make_node":
        from micronode.node import make_node

        return make_node
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__name__"])
