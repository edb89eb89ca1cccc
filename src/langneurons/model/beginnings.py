"""Beginnings: what all prompts of a language begin with, such as worked examples, computed once.

Prompts that are computed once for several responses go on from it, as responses go on from their
prompts.

Letters: T token.
"""

import copy
from collections import defaultdict
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from langneurons.model.batches import Batch, Batches
from langneurons.model.tokens import shared_prefix

LEAST = 16
"""Tokens; a shorter beginning is not worth a pass of its own."""


class Beginning(NamedTuple):
    """A beginning that was run.

    Attributes:
        length: its tokens.
        cache: what the model keeps of it, for one row.
    """

    length: int
    cache: Any

    def before(self, prompts: dict[str, Any], inputs: dict[str, Any], name: str) -> None:
        """Let prompts, and what follows them, go on from it.

        Args:
            prompts: what the model is given for prompts that begin like this.
            inputs: what it is given after them.
            name: what both call the cache.
        """
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(prompts["input_ids"]))
        prompts["input_ids"] = prompts["input_ids"][:, self.length :]
        prompts[name] = inputs[name] = cache


def by_key(work: Batches) -> Batches:
    """The same work, no batch of which holds rows of several keys, key by key."""
    parts: dict[int, list[Batch]] = defaultdict(list)
    for batch in work.batches:
        for key in dict.fromkeys(work.rows[i].key for i in batch.rows):
            rows = tuple(i for i in batch.rows if work.rows[i].key == key)
            parts[key].append(Batch(rows, batch.prefix))
    return replace(work, batches=tuple(batch for key in sorted(parts) for batch in parts[key]))


def shared(work: Batches) -> dict[int, NDArray[np.int32]]:
    """What all texts of a key begin with, without a scored token, [T].

    It ends before any of their prompts does. Keys with a single prompt have none, nor those of
    which a prompt is not computed once.
    """
    found = {}
    for key in dict.fromkeys(row.key for row in work.rows):
        rows = [row for row in work.rows if row.key == key]
        prefixes = [batch.prefix for batch in work.batches if work.rows[batch.rows[0]].key == key]
        length = min(shared_prefix([row.tokens for row in rows]), min(prefixes) - 1)
        if length >= LEAST and len({row.prompt for row in rows}) > 1:
            found[key] = rows[0].tokens.ids[:length]
    return found
