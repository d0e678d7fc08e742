"""Who may do what: for now, what the policy owner says of each call."""
