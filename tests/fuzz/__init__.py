"""Fuzzing: inputs that a coverage-guided fuzzer makes up, and what must hold of each."""
