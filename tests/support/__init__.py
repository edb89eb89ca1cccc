"""What several test files need. One module a thing: the command line, places, small values, models,
a browser."""
