"""TODO align."""
