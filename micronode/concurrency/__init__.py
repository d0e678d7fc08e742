"""Bounded work, and the listeners that let it in."""
