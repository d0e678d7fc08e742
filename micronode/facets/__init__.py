"""The facets: each declares its operations and translates them to owner calls."""
