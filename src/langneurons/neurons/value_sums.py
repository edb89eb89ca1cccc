"""Value sums: what enters down projections, and residual states, summed over counted tokens.

From them come means per language. They are read in the very forwards that counts are read in, which
then go on to the last layer's end. Letters: K language, D neuron, H width of a state, N token of
the flattened batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.errors import SiteError
from langneurons.model.batches import Batch, Batches
from langneurons.model.entering import Entering, entering
from langneurons.model.sites import Site
from langneurons.model.states import run_to_last_state
from langneurons.neurons.means import NEURONS, STATES

Sums = dict[str, NDArray[np.float64]]
"""[K, D] of each layer's neurons, [K, H] of each state, by name, as `neurons.003`."""


class ValueSums:
    """Sums in the making, float64; within a batch they are added up in float32."""

    def __init__(self, model: Any, sites: Sequence[Site], work: Batches, beginning: Tensor) -> None:
        """Start from zero.

        Args:
            model: a causal language model.
            sites: its sites.
            work: what is to be read.
            beginning: ids [1, T] that are run once, to know how wide the states are.

        Raises:
            SiteError: for a mixture of experts, whose neurons have no value where no token goes to
                them, and where `entering` or `states` can read nothing.
        """
        for site in sites:
            if len(site.shape) == 2:
                raise SiteError(
                    f"layer {site.layer} is a mixture of experts, whose neurons have no value "
                    "where no token goes to them; record without --means"
                )
        self.sites, self.work = sites, work
        languages = len(work.languages)
        self.sums: Sums = {
            f"{NEURONS}.{i:03d}": np.zeros((languages, *site.shape)) for i, site in enumerate(sites)
        }

        def measure(number: int, state: Tensor) -> None:
            self.sums[f"{STATES}.{number:03d}"] = np.zeros((languages, state.shape[-1]))

        mask = torch.ones_like(beginning)
        with torch.inference_mode(), entering(sites, lambda entered: entered.values):
            run_to_last_state(
                model, sites, measure, input_ids=beginning, attention_mask=mask, use_cache=False
            )

    def tensors(self) -> Sums:
        """Everything summed up so far, by name."""
        return self.sums

    def load(self, sums: Mapping[str, NDArray]) -> None:
        """Go on from what `tensors` gave."""
        self.sums = {name: sums[name].copy() for name in self.sums}

    def run(self, model: Any, batch: Batch, inputs: Mapping[str, Any]) -> Sums:
        """Run a batch, whose prompts are in its cache, to its last state; what it adds, by name."""
        weights = self._weights(batch, inputs["input_ids"].shape)
        added: dict[str, Tensor] = {}

        def enter(entered: Entering) -> Tensor:
            values = entered.values
            added[f"{NEURONS}.{entered.site:03d}"] = weights.to(values.device) @ values.float()
            return values

        def keep(number: int, state: Tensor) -> None:
            values = state.flatten(0, -2).float()
            added[f"{STATES}.{number:03d}"] = weights.to(values.device) @ values

        with entering(self.sites, enter):
            run_to_last_state(model, self.sites, keep, **inputs)
        return {name: part.double().cpu().numpy() for name, part in added.items()}

    def add(self, part: Sums) -> None:
        """Add what a batch gave."""
        for name, values in part.items():
            self.sums[name] += values

    def _weights(self, batch: Batch, shape: Sequence[int]) -> Tensor:
        """[K, N]: 1 where a token is counted for a language."""
        weights = torch.zeros(len(self.work.languages), *shape)
        for row, i in enumerate(batch.rows):
            language = self.work.rows[i].key // self.work.blocks
            counted = torch.from_numpy(self.work.rows[i].tokens.counted[batch.prefix :])
            weights[language, row, : len(counted)] = counted.float()
        return weights.flatten(1)
