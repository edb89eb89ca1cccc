"""Neurons: how often each is active, and which of them belong to languages.

Read in this order:

- `counts`: active tokens per language, block and neuron: the value, its file, adding up
- `tally`: counts in the making: one batch through a model, every site read
- `record`: counts of responses by a loaded model, in one pass that can be killed and gone on with
- `lambda_star`: the largest lambda at which no general neuron is selected, exactly
- `numbers`: how many neurons there are of each sort, with their intervals
- `table`: the classified neurons: the value, its file, rows by kind and language
- `selection`: tau, scores, lambda, and which neurons are selected
- `agreement`: how far neurons do the same in all languages where texts mean the same
- `identify`: from counts to the table, with intervals from resampling blocks
- `classes`: what every neuron is, by a model's own thresholds or by given ones
- `layer_stages`: layers cut into runs that look alike, such as the paper's four stages
- `contrasts`: what differs between stages that are fixed beforehand
- `tables`, `summary`: the numbers as plain rows, and those that are told first
- `sets`: which neurons to switch off, as positions and masks, and `silence`, which does so
- `other_tools`: counts and masks of NJUNLP and LAPE, in and out
- `commands`: `langneurons record`, `import`, `merge`, `identify` and `export`

Kinds of results: `counts.Counts`, `table.Neurons`. Torch is loaded by `tally` and `record` alone,
and by `sets` and `other_tools` when they need it.
"""
