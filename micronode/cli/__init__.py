"""The command line; the only place that imports the global reactor."""
