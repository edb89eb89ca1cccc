"""Meaning: where a model's states are of what a text means, and where of its language.

No class of neurons takes part. Read in this order:

- `sentences`: the same sentences in several languages, found fit to be held against each other;
- `pooled`: one vector for each of them at each state of a model, by one forward;
- `retrieval`: is a sentence nearer to its translation than to any other? With its chance;
- `measures`: agreement of languages, retrieval and the rest at each state and in each layer's
  neurons, with intervals, and their file;
- `token_languages`: how likely each language is, given a token;
- `lens`: what a model would say at each layer, if it stopped there; `lens_table`: that by language,
  with intervals, and its file;
- `commands`: `langneurons meaning` and `lens`.

Agreement itself is `neurons.agreement`, which counts give too.
"""
