"""TODO ask."""
