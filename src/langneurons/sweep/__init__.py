"""Sweep: whether what the counts say depends on the thresholds, and what chance would give.

In the order to read it:

grid       the cells: which settings are tried
shared     many cells on the same probabilities, each as `identify` finds it
units      the work of a sweep in pieces, and what was counted in each
judged     the paper's claims in every cell: verdict, number, interval
tables     over all cells: how often a claim holds, which axis moves it, beside chance
sweep      the whole, and how it is kept
commands   sweep

No model is run.
"""
