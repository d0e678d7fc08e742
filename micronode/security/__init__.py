"""Who is who: certificates and keys, and the rules by which they are taken."""
