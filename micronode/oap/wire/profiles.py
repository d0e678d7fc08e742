"""The profiles (``app_proto_id``), ``specs/oap-1.md`` section 6."""

from enum import IntEnum


class Profile(IntEnum):
    """What a stream is about; 0 is the connection itself."""

    CONTROL = 0x0000
    MEDIA = 0x0101
    FEED = 0x0201
    GRAPH = 0x0401
    SEARCH = 0x0402
    CUSTOM = 0x0501
