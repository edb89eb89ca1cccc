"""TODO silencing."""
