"""Whether steering makes a model write another language, and at what price.

`steer` lets a model go on from prompts in one language while it is steered towards others: by their
neurons, by a state of the residual stream, by random neurons; `continuations` keeps what it wrote
and judges it, each strength chosen on other prompts; `commands` has the command line.
"""
