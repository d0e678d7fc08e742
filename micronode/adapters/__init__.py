"""The adapters: how the node speaks to owner services in other processes."""
