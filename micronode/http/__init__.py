"""The HTTP ingress and the admin plane."""
