"""Who is who, and who may do what: certificates and keys; what the policy owner says of each call."""
