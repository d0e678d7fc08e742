"""Metrics, probes, version and logs."""
