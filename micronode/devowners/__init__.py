"""The reference owner services: a process of their own, never imported by the node."""
