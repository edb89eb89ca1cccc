"""langneurons: find the language neurons of a causal language model, switch them off, see what changes.

One module per idea; import from it: `from langneurons.identify import identify`. The layers they
stand in, lowest first, are drawn in docs/design.md and held by tests/test_layers.py.
"""

__version__ = "0.1.0"
