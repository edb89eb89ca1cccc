"""TODO neurons."""
