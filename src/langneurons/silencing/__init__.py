"""Silencing: what it costs a model to lose the neurons of a language.

Read in this order:

- `controls`: what is silenced, setting by setting and language by language, and the matched random
  sets that every set is held against;
- `losses`: what every language's texts cost under each of these conditions, and their file;
- `sinks`: neurons that act at the first token most of all, so that any set with one hurts all;
- `perplexity`: measures it, several conditions at once, killed and gone on with at any moment;
- `matrix`: how much more each language costs while another is silenced, with intervals, and the
  test of whether the diagonal is hurt most;
- `commands`: `langneurons perplexity`.

Switching neurons off while a model writes is `neurons.sets.silence`, and the hooks behind it are
`model.hooks`.
"""
