"""Effects: what each neuron costs each language.

Read in this order:

- `first_order`: about what silencing each neuron alone would cost, for all at once by one backward
  pass;
- `passes` and `scaling`: what all of this runs through, and what texts cost with neurons scaled;
- `tries`: neurons silenced one by one, to hold first order against, and `trust`: how well it does;
- `paths`: what sets cost, split over their neurons;
- `attribute`: all of it over the texts, killed and gone on with at any moment;
- `mediate`: what an alignment did, followed through sets of neurons, and `mediation`: its outcomes;
- `commands`: `langneurons attribute` and `langneurons mediate`.

The value that it makes, and that `identify` classifies by, is `neurons.effects`.
"""
