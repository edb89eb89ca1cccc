"""A model and its neurons: found, read, silenced, and proved to be so on the very model.

In the order in which to read them:

- `loading`: `load` gives a `Loaded`, the model with its tokenizer, which every stage takes.
- `gguf_file`: a model in one file of llama.cpp.
- `sites`: where the activations of each layer are, found by structure.
- `parts`: the ways they are written, and how each is read and silenced; `gates` finds those written
  as bare functions.
- `experts`: the same inside a mixture of experts.
- `tokens`: the exact ids of prompt and response, and which of them count.
- `reading`: the texts that are read: responses, or running text in chunks.
- `batches`: how many responses are cut into work.
- `forward`: what the model is given for a batch, and what fits into its context.
- `hooks`: `watch`, `silence`, `hold`: activations read, zeroed, set, while the model runs.
- `head`: what each token costs, without ever holding all logits.
- `check`: every claim of the above, tried on the very model.
- `commands`: the command `check`.
"""
