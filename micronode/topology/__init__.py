"""What bounds a node's work, holds it back, or waits: its live topology."""
