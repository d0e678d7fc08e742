"""The Twisted shell of OAP/1: it feeds the sans-IO core in :mod:`micronode.oap.wire`."""
