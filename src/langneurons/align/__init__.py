"""Align: a model is taught to answer in other languages as it answers in English (MAPO).

In the order of the flow:

scores       how well each response agrees with the English ones: the value
translator   how probable a translation model finds one text as the translation of another
reward       scores responses by a translator
pairs        preference pairs of scored responses: the value, and the rule
adapter      an adapter, its checkpoints and its log: the value
recipe       the settings of a training, as TRL and PEFT call them
training     what both objectives share: what can be trained, and how an adapter comes about
dpo          training on pairs
grpo         training on responses sampled as it goes, with their scores as rewards
commands     reward, pair, align

scores, pairs and adapter load no torch.
"""
