"""The converter of routes that stand for all below their path."""

from werkzeug.routing import BaseConverter


class Below(BaseConverter):
    """All that follows, slashes included, as it is; it may be empty."""

    regex = ".*"
    part_isolating = False
