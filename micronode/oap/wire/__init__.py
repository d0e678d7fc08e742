"""The sans-IO core of OAP/1: bytes in, events out; events in, bytes out. Standard library only.

It never touches a socket, a clock or Twisted, so it can be fuzzed, model-checked and used by
another implementation of the protocol. ``specs/oap-1.md`` is its specification.
"""
