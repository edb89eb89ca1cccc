"""Pooled states: one vector for each sentence, at each state of a model, by one forward.

A sentence's vector is the mean over its text tokens with weights 1 to T (later tokens have read
more of it), of hidden states, and of whether each neuron is active. Beginning tokens are left out:
their norms are many times those of text. Letters: K language, n sentence, H hidden size, D neuron,
B row of a batch, T token.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from langneurons.errors import InputError, RecordError
from langneurons.meaning.sentences import Sentences
from langneurons.model.batches import Batches, batched
from langneurons.model.forward import fitting, model_inputs
from langneurons.model.hooks import Reading, watch
from langneurons.model.loading import Loaded
from langneurons.model.states import run_to_last_state
from langneurons.model.tokens import tokenise
from langneurons.resume import Progress, Saved, Tensors, or_halves, units_left
from langneurons.texts.responses import Response

SAVE_EVERY = 300.0
"""Seconds between savings of what is done: what is saved is large."""

Vectors = NDArray[np.float32]


class Pooled(NamedTuple):
    """One vector for each sentence.

    Attributes:
        hidden: of each state, from what enters the first layer to what leaves the last, [K, n, H].
        rates: share of the tokens on which each neuron is active, of each layer, [K, n, D], D = 0
            for one without a feed-forward; empty for a model with mixtures of experts, where a
            sentence reaches few of them.
    """

    hidden: tuple[Vectors, ...]
    rates: tuple[Vectors, ...]


def pooled(
    model: Loaded,
    sentences: Sentences,
    *,
    state: Saved | None = None,
    on_step: Progress | None = None,
) -> Pooled:
    """The pooled states of every sentence.

    Args:
        model: a loaded causal language model.
        sentences: what it reads, one by one, each after the beginning token if it has one.
        state: where to keep what is done.
        on_step: told of the tokens done and of all.

    Raises:
        InputError: for a sentence longer than the model's context.
        SiteError: when the model's layers cannot be found.
        RecordError: for states that are not numbers.
    """
    work = _work(model, sentences.responses(), sentences.languages)
    sums = _Sums(model, work)
    costs = [work.computed(batch) for batch in work.batches]
    for number in units_left(
        costs,
        load=sums.load,
        tensors=sums.tensors,
        state=state,
        save_every=SAVE_EVERY,
        on_step=on_step,
    ):
        or_halves(sums.run, work.batches[number].rows, _halved)
    shape = (len(sentences.languages), len(sentences.ids))
    if not all(np.isfinite(vectors).all() for vectors in sums.vectors.values()):
        raise RecordError(
            "the model gave states that are not numbers; try another --dtype (float32, bfloat16)"
        )
    return Pooled(hidden=sums.kept("hidden", shape), rates=sums.kept("rates", shape))


def _work(model: Loaded, texts: Sequence[Response], languages: Sequence[str]) -> Batches:
    """Every sentence in batches; none may be left out, as its translations would then be alone."""
    rows = tokenise(model.tokenizer, texts)
    kept, facts = fitting(model.model, texts, rows, tuple(languages))
    if len(kept) < len(texts):
        out = next(i for i in range(len(texts)) if i not in set(kept))
        limit = facts.get("longer than the context", {}).get("context")
        why = f"is longer than the model's context of {limit} tokens" if limit else "has no token"
        raise InputError(
            f"sentence {texts[out].question_id} {why} in {texts[out].lang}; remove it in every "
            "language"
        )
    return batched(texts, rows, languages, blocks=1, budget=model.budget(), share_prompts=False)


def _halved(rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    if len(rows) == 1:
        raise RecordError(
            "a single sentence does not fit into memory; use a smaller --dtype or a larger device"
        ) from None
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]


class _Sums:
    """Vectors in the making: [K * n, ...], rows as the sentences stand in the work."""

    def __init__(self, model: Loaded, work: Batches) -> None:
        self.model, self.work = model, work
        dense = all(len(site.shape) == 1 for site in model.sites)
        self.read = model.sites if dense else ()
        self.vectors: Tensors = {
            f"rates.{site.layer}": np.zeros((len(work.rows), 0), np.float32)
            for site in self.read
            if not site.parts
        }

    def tensors(self) -> Tensors:
        return self.vectors

    def load(self, tensors: Tensors) -> None:
        self.vectors = {name: vectors.copy() for name, vectors in tensors.items()}

    def kept(self, kind: str, shape: tuple[int, int]) -> tuple[Vectors, ...]:
        """The vectors of every state, or of every layer."""
        count = sum(name.startswith(f"{kind}.") for name in self.vectors)
        vectors = [self.vectors[f"{kind}.{number}"] for number in range(count)]
        return tuple(rows.reshape(*shape, rows.shape[1]) for rows in vectors)

    @torch.inference_mode()
    def run(self, rows: tuple[int, ...]) -> None:
        """Run some sentences together and keep their vectors."""
        batch = self.work.batches[0]._replace(rows=rows, prefix=0)
        _, inputs = model_inputs(self.model.model, self.work, batch)
        weights = self._weights(rows, inputs["input_ids"].shape[1])
        places = list(rows)

        def put(name: str, values: Tensor) -> None:
            means = _mean(weights, values)
            room = (len(self.work.rows), means.shape[1])
            self.vectors.setdefault(name, np.zeros(room, np.float32))[places] = means

        def keep(number: int, state: Tensor) -> None:
            put(f"hidden.{number}", state)

        def count(reading: Reading) -> None:
            active = (reading.values > 0).reshape(*weights.shape, -1)
            put(f"rates.{reading.site}", active)

        with ExitStack() as stack:
            if self.read:
                stack.enter_context(watch(self.read, count))
            run_to_last_state(self.model.model, self.model.sites, keep, **inputs)

    def _weights(self, rows: Sequence[int], width: int) -> Tensor:
        """Weights 1 to T of each sentence's text tokens, which add up to 1, [B, T]."""
        weights = torch.zeros(len(rows), width)
        for i, row in enumerate(rows):
            counted = torch.from_numpy(self.work.rows[row].tokens.counted)
            order = counted.float().cumsum(0) * counted
            weights[i, : len(order)] = order / order.sum()
        return weights


def _mean(weights: Tensor, values: Tensor) -> Vectors:
    """Weighted mean over tokens of values [B, T, H], [B, H]."""
    shares = weights.to(values.device)[:, None]
    return (shares @ values.float())[:, 0].cpu().numpy()
