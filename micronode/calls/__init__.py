"""The shared middle, where both ingresses meet: operations, calls and their dispatch."""
