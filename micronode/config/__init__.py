"""Configuration: one schema, several sources, provenance for every value."""
