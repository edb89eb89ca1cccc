"""Run folder: where the run of a study keeps what, so that who writes it and who reads it need not guess."""

LEDGER = "study.json"
"""Name of the file in the folder of a run that says what it is a run of, and what is done."""
